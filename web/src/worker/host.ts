/**
 * Drives the core in the worker: socket, clock and page on one side, {@link Core} on the other. Has no globals of its
 * own: everything from outside is handed in.
 */

import { ConclaveError, type ErrorCode } from '../errors.ts';
import type { Core, CoreOutput } from './core.ts';
import type { CoreCommand, FromWorker, Profile, ToWorker } from './protocol.ts';
import { Transforms, type Transformer } from './transforms.ts';

/** What a socket tells. */
export interface SocketEvents {
  opened(): void;
  text(text: string): void;
  /** With the WebSocket close code; 1006 when the connection never opened or broke. */
  closed(code: number): void;
}

/** One connection to the relay. */
export interface Socket {
  send(text: string): void;
  close(): void;
  /** Bytes that wait to be sent. */
  readonly bufferedAmount: number;
}

/** Everything that a host needs from the world. */
export interface World {
  /** Rejects with a {@link ConclaveError} when there can be no core at all, and otherwise for a bad profile. */
  makeCore(profile: Profile): Promise<Core>;
  connect(url: string, events: SocketEvents): Socket;
  post(message: FromWorker): void;
  /** Milliseconds that never go backwards. */
  now(): number;
  /** Calls back after so many milliseconds; returns what undoes it. */
  after(milliseconds: number, callback: () => void): () => void;
}

/** A relay that takes nothing for so long that this much waits is gone: a commit for 1,000 members is 1 MiB. */
const SEND_BUFFER = 4 * 1024 * 1024;

/** One worker: one join. */
export class Host {
  readonly #world: World;
  readonly #transforms: Transforms;
  #core: Core | undefined;
  #socket: Socket | undefined;
  #opened = false;
  #cancelTimer: (() => void) | undefined;

  constructor(world: World) {
    this.#world = world;
    this.#transforms = new Transforms(
      () => this.#core,
      () => world.now(),
    );
  }

  /** A message of the page. */
  handle(message: ToWorker): void {
    switch (message.type) {
      case 'join':
        void this.#join(message.url, message.profile);
        break;
      case 'command':
        this.#command(message.id, message.command);
        break;
      case 'stats':
        this.#stats(message.id);
        break;
    }
  }

  /** A transform that the page attached to a track. */
  attach(transformer: Transformer): void {
    this.#transforms.attach(transformer);
  }

  async #join(url: string, profile: Profile): Promise<void> {
    let core: Core;
    try {
      core = await this.#world.makeCore(profile);
    } catch (error) {
      const code = error instanceof ConclaveError ? error.code : 'bad_options';
      return this.#fail(code, error instanceof Error ? error.message : String(error));
    }
    this.#core = core;
    try {
      this.#socket = this.#world.connect(url, {
        opened: () => {
          this.#opened = true;
        },
        text: (text) => this.#run((running, now) => running.received(now, text)),
        closed: (code) => this.#closed(code),
      });
    } catch (error) {
      this.#fail('bad_options', error instanceof Error ? error.message : String(error));
    }
  }

  #command(id: number, command: CoreCommand): void {
    let failure: unknown;
    this.#run(
      (core, now) => core.command(now, JSON.stringify(command)),
      (event) => {
        const isFailure = typeof event === 'object' && event !== null && 'command_failed' in event;
        if (isFailure) failure = event;
        return isFailure;
      },
    );
    this.#world.post(failure === undefined ? { type: 'done', id } : { type: 'done', id, failure });
  }

  #stats(id: number): void {
    const core = this.#core ? JSON.parse(this.#core.stats()) : {};
    this.#world.post({ type: 'stats', id, stats: { transforms: this.#transforms.stats(), core } });
  }

  #closed(code: number): void {
    this.#socket = undefined;
    this.#world.post({ type: 'closed', code, opened: this.#opened });
    this.#run((core, now) => core.disconnected(now));
  }

  /** Every wake-up of the core goes through here: outputs in order, then frames whose key came, then the next timer. */
  #run(step: (core: Core, now: number) => string, swallow: (event: unknown) => boolean = () => false): void {
    const core = this.#core;
    if (!core) return;
    let outputs: CoreOutput[];
    try {
      outputs = JSON.parse(step(core, this.#world.now()));
    } catch (error) {
      // A trap in WASM leaves the core in an unknown state: without a core nothing is sealed or opened.
      this.#core = undefined;
      this.#socket?.close();
      return this.#fail('internal', `The core stopped: ${error instanceof Error ? error.message : 'unknown'}.`);
    }
    for (const output of outputs) this.#carryOut(output, swallow);
    this.#transforms.release();
    this.#schedule(core);
  }

  #carryOut(output: CoreOutput, swallow: (event: unknown) => boolean): void {
    if ('send' in output) {
      this.#socket?.send(output.send);
      if ((this.#socket?.bufferedAmount ?? 0) > SEND_BUFFER) this.#socket?.close();
    } else if ('event' in output) {
      if (!swallow(output.event)) this.#world.post({ type: 'event', event: output.event });
    } else {
      this.#socket?.close();
    }
  }

  #schedule(core: Core): void {
    this.#cancelTimer?.();
    const at = core.nextTimeout();
    if (at === undefined) return;
    const wait = Math.max(0, at - this.#world.now());
    this.#cancelTimer = this.#world.after(wait, () => this.#run((running, now) => running.timeout(now)));
  }

  #fail(code: ErrorCode, message: string): void {
    this.#world.post({ type: 'failed', code, message });
  }
}
