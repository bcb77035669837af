/** How it stands with one person, from what WebRTC and the worker counted. */

import type { Member, PeerView, TransformStats } from '../src/index.ts';

/** What is known of a person's media. */
export interface Evidence {
  readonly member: Member;
  readonly peer: PeerView | undefined;
  /** The worker's counters of this person's tracks. */
  readonly tracks: readonly TransformStats[];
  /** For how many milliseconds frames have been coming that there is no key for; absent while they open. */
  readonly waiting?: number | undefined;
  /** Frames opened in the last second. */
  readonly rate: number;
  /** Milliseconds since this person was first seen in the roster. */
  readonly age: number;
}

/** A state, for colours and symbols. */
export type PresenceKind = 'joining' | 'connecting' | 'waiting' | 'decrypting' | 'quiet' | 'headless' | 'recording' | 'trouble' | 'failed';

/** The state and its sentence. */
export interface Presence {
  readonly kind: PresenceKind;
  readonly text: string;
}

/** A wait that is shorter than this is nothing to talk about: keys and frames come by different ways. */
const WAIT_TIME = 1000;
/** Somebody who has said nothing for so long has no page. */
const HELLO_TIME = 5000;

/** In an honest call everybody has shown themselves after 12 seconds: who takes longer is worth a word. */
const CONFIRM_TIME = 15_000;

/** Who holds the key by the lead's word and has not shown themselves, and since when. */
export class Unconfirmed {
  #since = new Map<number, number>();

  /** Order numbers of those of these people who are said at this time, in milliseconds, to be unconfirmed. */
  look(members: readonly Member[], now: number): ReadonlySet<number> {
    const open = members.filter(({ committed, confirmed }) => committed && !confirmed);
    this.#since = new Map(open.map(({ joined }) => [joined, this.#since.get(joined) ?? now]));
    return new Set([...this.#since].filter(([, since]) => now - since > CONFIRM_TIME).map(([joined]) => joined));
  }

  /** Order numbers of another join may name other people. */
  clear(): void {
    this.#since.clear();
  }
}

/** The state of a person. */
export function presenceOf({ member, peer, tracks, waiting, rate, age }: Evidence): Presence {
  if (!member.committed) return { kind: 'joining', text: 'Joining: waits for the lead to hand over the key' };
  if (member.role === 'lead_bot') return { kind: 'headless', text: 'Headless: makes keys, no media' };
  // Whatever its connection is like: it holds the key.
  if (member.role === 'recorder') return { kind: 'recording', text: 'Records this call: pictures and sound' };
  if (!peer) {
    return age < HELLO_TIME
      ? { kind: 'connecting', text: 'Connecting…' }
      : { kind: 'headless', text: 'Headless: has the key, no media' };
  }
  switch (peer.state) {
    case 'connecting':
      return { kind: 'connecting', text: 'Connecting…' };
    case 'interrupted':
      return { kind: 'trouble', text: 'Connection lost; trying again' };
    case 'failed':
      return { kind: 'failed', text: 'No connection: a network between you lets no media through' };
    case 'connected':
      return waiting !== undefined && waiting >= WAIT_TIME ? waitingFor(waiting) : connected(peer, tracks, rate);
  }
}

function waitingFor(milliseconds: number): Presence {
  const seconds = Math.floor(milliseconds / 1000);
  const time = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
  return { kind: 'waiting', text: `Waiting for a key since ${time}` };
}

function connected(peer: PeerView, tracks: readonly TransformStats[], rate: number): Presence {
  if (rate > 0) return { kind: 'decrypting', text: `Decrypting · ${Math.round(rate)} frames a second` };
  const opened = tracks.reduce((sum, { framesOut }) => sum + framesOut, 0);
  if (tracks.some(({ stuck }) => stuck)) {
    return opened === 0
      ? { kind: 'waiting', text: 'Waiting for a key' }
      : { kind: 'failed', text: 'Cannot decrypt: no key of this call opens what arrives' };
  }
  const { audio, video } = peer.sends;
  if (!audio && !video) return { kind: 'quiet', text: 'Connected · camera and sound off' };
  return { kind: 'quiet', text: 'Connected · nothing arrives right now' };
}
