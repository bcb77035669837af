/** The page's end of the line to its worker: requests with answers, and events. */

import { ConclaveError } from './errors.ts';
import { readCoreEvent, type CoreEvent } from './events.ts';
import type { CoreCommand, FromWorker, Profile, ToWorker, WorkerStats } from './worker/protocol.ts';

/** The part of a `Worker` that is used. */
export interface WorkerLike {
  postMessage(message: ToWorker, transfer?: readonly Transferable[]): void;
  terminate(): void;
  onmessage: ((event: MessageEvent<FromWorker>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
}

/** Who wants to hear from the worker. */
export interface LinkEvents {
  event(event: CoreEvent): void;
  /** A fresh access token is needed; `undefined` when there is none. */
  token(): Promise<string | undefined>;
  /** The worker cannot go on, or is gone. */
  failed(error: ConclaveError): void;
}

/** A worker that owes an answer for so long is gone: frames take a tenth of a millisecond each, commits some. */
const ANSWER_TIME = 5000;
/** How long a closing handshake may take: the core has wiped its keys before it begins. */
const GOODBYE_TIME = 1000;
/** Answers that may be owed at once; one who asks faster than the worker answers is told so. */
const OWED_ANSWERS = 1024;

interface Owed {
  readonly resolve: (stats: WorkerStats | undefined) => void;
  readonly reject: (error: ConclaveError) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** One worker, from this side. */
export class Link {
  /** The worker itself: transforms are made for it. */
  readonly worker: WorkerLike;
  readonly #events: LinkEvents;
  readonly #owed = new Map<number, Owed>();
  #nextId = 1;
  #over: ConclaveError | undefined;

  constructor(worker: WorkerLike, events: LinkEvents) {
    this.worker = worker;
    this.#events = events;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#lost(new ConclaveError('worker_lost', { message: `The worker stopped: ${event.message || 'it did not load'}.` }));
    };
  }

  /** Starts the join. */
  join(urls: readonly string[], profile: Profile): void {
    this.worker.postMessage({ type: 'join', urls, profile });
  }

  /** A pause before the next try ends at once. */
  hurry(): void {
    if (!this.#over) this.worker.postMessage({ type: 'hurry' });
  }

  /** Carries out a command. Rejects with the core's reason, or `worker_lost`. */
  async command(command: CoreCommand): Promise<void> {
    await this.#ask((id) => ({ type: 'command', id, command }));
  }

  /** The worker's counters. */
  async stats(): Promise<WorkerStats> {
    const stats = await this.#ask((id) => ({ type: 'stats', id }));
    return stats ?? { now: 0, transforms: [], core: {} };
  }

  /** Ends the worker, and its keys with it; a goodbye that is on its way is let out first. */
  close(reason: ConclaveError): void {
    if (this.#over) return;
    this.#over = reason;
    if (reason.code === 'left') this.#terminateAfterGoodbye();
    else this.worker.terminate();
    for (const { reject, timer } of this.#owed.values()) {
      clearTimeout(timer);
      reject(reason);
    }
    this.#owed.clear();
  }

  #terminateAfterGoodbye(): void {
    const timer = setTimeout(() => this.worker.terminate(), GOODBYE_TIME);
    this.worker.onmessage = ({ data }) => {
      if (data.type !== 'closed') return;
      clearTimeout(timer);
      this.worker.terminate();
    };
  }

  #ask(message: (id: number) => ToWorker): Promise<WorkerStats | undefined> {
    if (this.#over) return Promise.reject(this.#over);
    if (this.#owed.size >= OWED_ANSWERS) return Promise.reject(new ConclaveError('too_fast'));
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#lost(new ConclaveError('worker_lost')), ANSWER_TIME);
      this.#owed.set(id, { resolve, reject, timer });
      this.worker.postMessage(message(id));
    });
  }

  #receive(message: FromWorker): void {
    if (this.#over) return;
    switch (message.type) {
      case 'event':
        this.#events.event(readCoreEvent(message.event));
        break;
      case 'done':
        this.#answer(message.id, undefined, message.failure);
        break;
      case 'stats':
        this.#answer(message.id, message.stats);
        break;
      case 'token':
        void this.#token(message.id);
        break;
      case 'unreachable':
        this.#lost(new ConclaveError('unreachable'));
        break;
      case 'closed':
        // The end was told before; a worker that closes without one could not go on.
        this.#lost(new ConclaveError('disconnected'));
        break;
      case 'failed':
        this.#lost(new ConclaveError(message.code, { message: message.message }));
        break;
    }
  }

  async #token(id: number): Promise<void> {
    const token = await this.#events.token();
    if (!this.#over) this.worker.postMessage({ type: 'token', id, ...(token !== undefined && { token }) });
  }

  #answer(id: number, stats: WorkerStats | undefined, failure?: unknown): void {
    const owed = this.#owed.get(id);
    if (!owed) return;
    this.#owed.delete(id);
    clearTimeout(owed.timer);
    const failed = failure === undefined ? undefined : readCoreEvent(failure);
    if (failed?.type === 'command_failed') owed.reject(failed.error);
    else owed.resolve(stats);
  }

  #lost(error: ConclaveError): void {
    if (this.#over) return;
    this.close(error);
    this.#events.failed(error);
  }
}
