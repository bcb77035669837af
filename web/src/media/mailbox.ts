/** Signals on their way out: an {@link Outbox} with a clock and a call behind it. */

import type { Call } from '../call.ts';
import { ConclaveError } from '../errors.ts';
import { Outbox, type To } from './outbox.ts';
import type { Signal } from './signals.ts';

/** Sends signals through a call, sealed, and no more of them than the relay takes. */
export class Mailbox {
  readonly #call: Call;
  readonly #failed: (error: ConclaveError) => void;
  readonly #outbox = new Outbox();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(call: Call, failed: (error: ConclaveError) => void) {
    this.#call = call;
    this.#failed = failed;
  }

  /** To one member or all; one that is `urgent` does not wait for others to go with it. */
  send(to: To, signal: Signal, urgent: boolean): void {
    this.#outbox.add(performance.now(), to, signal, urgent);
    this.#flush();
  }

  /** Forgets what waits for a member. */
  drop(to: To): void {
    this.#outbox.drop(to);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #flush(): void {
    if (this.#closed) return;
    for (const { to, payload } of this.#outbox.take(performance.now())) {
      this.#call.signal(payload, to === 'all' ? undefined : to).catch((error: unknown) => {
        // Who left meanwhile needs no signal; everything else is told.
        if (error instanceof ConclaveError && error.code !== 'unknown_member') this.#failed(error);
      });
    }
    clearTimeout(this.#timer);
    const due = this.#outbox.due(performance.now());
    if (due !== undefined) this.#timer = setTimeout(() => this.#flush(), Math.max(0, due - performance.now()));
  }
}
