/** How it stands with each member's media: what the worker counted, told when it changed. */

import type { WorkerStats } from '../worker/protocol.ts';

/** One member's media, over all tracks and connections. All counts are of frames, since the member took its seat. */
export interface MediaStats {
  /** The member's order number. */
  readonly member: number;
  readonly opened: number;
  /** Did not open under the key that they name. */
  readonly undecryptable: number;
  /** Had to wait for their key; each counts once more for what became of it. */
  readonly held: number;
  /** Came a second time, as retransmissions do. */
  readonly duplicates: number;
  /** Of an epoch that is over. */
  readonly late: number;
  /** Their key did not come in time. */
  readonly expired: number;
  /** No frames of this member at all: malformed, or naming another. */
  readonly refused: number;
  /** Since when frames have been coming that there is no key for, by `performance.now()`; absent while they open. */
  readonly waitingForKeySince?: number;
}

/** Members and their seats. */
export type Seats = ReadonlyMap<number, number>;

/** Finds what changed between two looks. No IO. */
export class MediaLook {
  readonly #last = new Map<number, string>();

  /** What changed since the last look. `now`: the page's clock, for the worker has another. */
  changes(now: number, stats: WorkerStats, seats: Seats): MediaStats[] {
    const changed: MediaStats[] = [];
    for (const member of this.#last.keys()) if (!seats.has(member)) this.#last.delete(member);
    for (const [member, seat] of seats) {
      const counted = stats.core.seats?.[seat];
      if (!counted) continue;
      // Compared as the worker tells it: the two clocks differ by a little each time.
      const text = JSON.stringify(counted);
      if (this.#last.get(member) === text) continue;
      this.#last.set(member, text);
      const { waiting_since: since, opened, undecryptable, held, duplicates, late, expired, refused } = counted;
      const waiting = typeof since === 'number' ? { waitingForKeySince: now - Math.max(0, stats.now - since) } : {};
      changed.push({ member, opened, undecryptable, held, duplicates, late, expired, refused, ...waiting });
    }
    return changed;
  }
}
