/**
 * Outgoing signals, bundled: what goes to the same member within a moment goes as one message, and all of it together
 * stays well inside the relay's 20 messages a second (burst 60), which keys and application messages need too.
 */

import { encodeSignals, type Signal } from './signals.ts';

/** How long a signal that can wait does: candidates come in a flock. */
export const BUNDLE_TIME = 60;
/** Messages that may go at once, and how many more per second. */
const BURST = 30;
const RATE = 10;
/** Bytes of signals in one message: the core takes 40 KiB. */
const MESSAGE_BYTES = 32 * 1024;
/** Signals that wait for one member at most; a connection that has more to say is beyond help. */
const WAITING_SIGNALS = 256;

/** For whom: an order number, or everybody. */
export type To = number | 'all';

/** One message to send. */
export interface Parcel {
  readonly to: To;
  readonly payload: Uint8Array<ArrayBuffer>;
}

interface Box {
  readonly signals: Signal[];
  due: number;
}

/** Bookkeeping alone: no timers, no IO. */
export class Outbox {
  readonly #boxes = new Map<To, Box>();
  #tokens = BURST;
  #filledAt = 0;

  /** Takes a signal; one that is `urgent` takes along what already waits for the same member. */
  add(now: number, to: To, signal: Signal, urgent: boolean): void {
    const box = this.#boxes.get(to) ?? { signals: [], due: Number.POSITIVE_INFINITY };
    this.#boxes.set(to, box);
    box.signals.push(signal);
    if (box.signals.length > WAITING_SIGNALS) box.signals.shift();
    box.due = Math.min(box.due, urgent ? now : now + BUNDLE_TIME);
  }

  /** Forgets what waits for a member. */
  drop(to: To): void {
    this.#boxes.delete(to);
  }

  /** When to call {@link take}; `undefined` when nothing waits. */
  due(now: number): number | undefined {
    if (this.#boxes.size === 0) return undefined;
    const earliest = Math.min(...[...this.#boxes.values()].map(({ due }) => due));
    this.#fill(now);
    return this.#tokens >= 1 ? earliest : Math.max(earliest, now + ((1 - this.#tokens) / RATE) * 1000);
  }

  /** What is to be sent now, oldest first. */
  take(now: number): Parcel[] {
    this.#fill(now);
    const ready = [...this.#boxes].filter(([, { due }]) => due <= now).toSorted(([, a], [, b]) => a.due - b.due);
    const parcels: Parcel[] = [];
    for (const [to, box] of ready) {
      while (this.#tokens >= 1 && box.signals.length > 0) {
        parcels.push({ to, payload: pack(box.signals) });
        this.#tokens -= 1;
      }
      if (box.signals.length === 0) this.#boxes.delete(to);
    }
    return parcels;
  }

  #fill(now: number): void {
    this.#tokens = Math.min(BURST, this.#tokens + (Math.max(0, now - this.#filledAt) / 1000) * RATE);
    this.#filledAt = now;
  }
}

/** Takes as many signals as fit in one message, one at least. */
function pack(signals: Signal[]): Uint8Array<ArrayBuffer> {
  let bytes = 0;
  const taken = signals.findIndex((signal, i) => {
    bytes += encodeSignals([signal]).length;
    return i > 0 && bytes > MESSAGE_BYTES;
  });
  return encodeSignals(signals.splice(0, taken === -1 ? Math.min(signals.length, 32) : Math.min(taken, 32)));
}
