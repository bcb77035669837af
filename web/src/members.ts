/** Who is here: the relay's claims, and over them the roster that the lead has committed. */

import type { AwayReason, CoreMember, Member } from './events.ts';

/** Seats remembered of members that left: frames in flight name them for seconds, not longer. */
const PASSED_SEATS = 256;

/** What a commit changed. */
export interface RosterChange {
  readonly members: readonly Member[];
  readonly added: readonly Member[];
  readonly removed: readonly Member[];
}

/** Somebody, before what else is known of them. */
type Entry = Omit<Member, 'confirmed' | 'away'>;

/** Joins the relay's word and the lead's into one list. No IO. */
export class MemberList {
  /** Who is here. */
  readonly #here = new Map<number, Entry>();
  /** The last committed roster. */
  #roster = new Map<number, Entry>();
  /** Gone by word of the relay or their own, and still in the roster. */
  readonly #gone = new Set<number>();
  /** Keep their seat, and are not really there. */
  readonly #away = new Map<number, AwayReason>();
  /** Have shown themselves, this device included: nobody who is not in the roster, but this device before its first key. */
  readonly #confirmed = new Set<number>();
  /** Seats by order number, those of members that left included. */
  readonly #seats = new Map<number, number>();

  /** Everybody who is here, by order number. */
  get all(): readonly Member[] {
    return [...this.#here.values()].toSorted((a, b) => a.joined - b.joined).map((member) => this.#whole(member));
  }

  /** A member who is here. */
  get(joined: number): Member | undefined {
    const member = this.#here.get(joined);
    return member && this.#whole(member);
  }

  /** A member who is here, or whom the newest roster still holds. */
  known(joined: number): Member | undefined {
    const member = this.#here.get(joined) ?? this.#roster.get(joined);
    return member && this.#whole(member);
  }

  /** The seat of a member who is here or left a short while ago. */
  seat(joined: number): number | undefined {
    return this.#seats.get(joined);
  }

  /** The relay says that this member is here. */
  arrived(member: CoreMember): void {
    if (this.#gone.has(member.joined)) return;
    this.#put({ ...member, committed: this.#roster.has(member.joined) });
  }

  /** The member is gone; an epoch on its way may still name them. */
  left(joined: number): void {
    if (this.#roster.has(joined)) this.#gone.add(joined);
    this.#here.delete(joined);
    this.#away.delete(joined);
  }

  /** The member keeps the seat and is away for this reason, or is here again. */
  away(joined: number, reason: AwayReason | undefined): void {
    if (reason === undefined) this.#away.delete(joined);
    else this.#away.set(joined, reason);
  }

  /** The member has shown that they are there. */
  confirm(joined: number): void {
    this.#confirmed.add(joined);
  }

  /** Forgets everything: another join tells it all anew. This device is `me` in it. */
  restart(me: number): void {
    for (const map of [this.#here, this.#roster, this.#gone, this.#away, this.#confirmed, this.#seats]) map.clear();
    this.#confirmed.add(me);
  }

  /** The lead committed this roster. */
  commit(roster: readonly CoreMember[]): RosterChange {
    const before = this.#roster;
    this.#roster = new Map(roster.map((member) => [member.joined, { ...member, committed: true }]));
    const members = [...this.#roster.values()].map((member) => this.#whole(member));
    const added = members.filter(({ joined }) => !before.has(joined));
    const removed = [...before.values()].filter(({ joined }) => !this.#roster.has(joined)).map((member) => this.#whole(member));
    for (const { joined } of removed) {
      this.#here.delete(joined);
      this.#gone.delete(joined);
      this.#away.delete(joined);
      this.#confirmed.delete(joined);
    }
    for (const member of this.#roster.values()) if (!this.#gone.has(member.joined)) this.#put(member);
    return { members, added, removed };
  }

  #whole(member: Entry): Member {
    const confirmed = this.#confirmed.has(member.joined);
    const away = this.#away.get(member.joined);
    return away === undefined ? { ...member, confirmed } : { ...member, confirmed, away };
  }

  #put(member: Entry): void {
    this.#here.set(member.joined, member);
    this.#seats.delete(member.joined);
    this.#seats.set(member.joined, member.seat);
    for (const joined of this.#seats.keys()) {
      if (this.#seats.size <= this.#here.size + PASSED_SEATS) break;
      if (!this.#here.has(joined)) this.#seats.delete(joined);
    }
  }
}
