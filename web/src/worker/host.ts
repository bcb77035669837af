/**
 * Drives the core in the worker: line, clock and page on one side, {@link Core} on the other. Has no globals of its
 * own: everything from outside is handed in.
 */

import { ConclaveError, type ErrorCode } from '../errors.ts';
import type { Core, CoreOutput } from './core.ts';
import { Line, type LineWorld } from './line.ts';
import type { CoreCommand, FromWorker, Profile, ToWorker } from './protocol.ts';
import { Transforms, type Transformer } from './transforms.ts';

/** Everything that a host needs from the world. */
export interface World extends LineWorld {
  /** Rejects with a {@link ConclaveError} when there can be no core at all, and otherwise for a bad profile. */
  makeCore(profile: Profile): Promise<Core>;
  post(message: FromWorker): void;
}

/** How long the page may take for a token: the relay wants the answer to its challenge within five seconds. */
const TOKEN_TIME = 4000;
/** Texts that may come before the challenge is answered: there are none, so one more than that. */
const EARLY_TEXTS = 2;
/** Between two times that the core is told of frames without a key. */
const MISSING_KEY_PAUSE = 1000;

/** One worker: one call. */
export class Host {
  readonly #world: World;
  readonly #transforms: Transforms;
  #core: Core | undefined;
  #line: Line | undefined;
  #renewable = false;
  #cancelTimer: (() => void) | undefined;
  readonly #tokens = new Map<number, (token: string | undefined) => void>();
  #nextToken = 1;
  /** Texts that wait for a token. */
  #early: string[] | undefined;
  #missedKeyAt = Number.NEGATIVE_INFINITY;

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
        void this.#join(message.urls, message.profile);
        break;
      case 'token':
        this.#tokens.get(message.id)?.(message.token);
        break;
      case 'hurry':
        this.#line?.hurry();
        break;
      case 'command':
        this.#command(message.id, message.command);
        break;
      case 'stats':
        this.#stats(message.id);
        break;
      case 'streams':
        this.#transforms.attach(message);
        break;
    }
  }

  /** A transform that the page attached to a track. */
  attach(transformer: Transformer): void {
    this.#transforms.attach(transformer);
  }

  async #join(urls: readonly string[], profile: Profile): Promise<void> {
    let core: Core;
    try {
      core = await this.#world.makeCore(profile);
    } catch (error) {
      const code = error instanceof ConclaveError ? error.code : 'bad_options';
      return this.#fail(code, error instanceof Error ? error.message : String(error));
    }
    this.#core = core;
    this.#renewable = profile.renewable ?? false;
    this.#line = new Line(this.#world, urls, {
      text: (text) => void this.#text(text),
      lost: (code) => this.#run((running, now) => running.disconnected(now, code)),
      unreachable: () => this.#world.post({ type: 'unreachable' }),
      closed: () => this.#world.post({ type: 'closed' }),
    });
    try {
      this.#line.open();
    } catch (error) {
      this.#fail('bad_options', error instanceof Error ? error.message : String(error));
    }
  }

  /** A text of the relay; one that only a good token can answer waits for one. */
  async #text(text: string): Promise<void> {
    if (this.#early) {
      this.#early.push(text);
      if (this.#early.length > EARLY_TEXTS) this.#again(false);
      return;
    }
    if (this.#core?.needsToken(text)) {
      const early = [text];
      this.#early = early;
      await this.#renewToken();
      // Another connection may have taken the place of the one that waited.
      if (this.#early !== early) return;
      this.#early = undefined;
      for (const waiting of early) this.#run((core, now) => core.received(now, waiting));
      return;
    }
    this.#run((core, now) => core.received(now, text));
  }

  /** Asks the page for a token; without one in time the last one is shown again. */
  async #renewToken(): Promise<void> {
    const id = this.#nextToken;
    this.#nextToken += 1;
    const token = await new Promise<string | undefined>((resolve) => {
      this.#tokens.set(id, resolve);
      this.#world.after(TOKEN_TIME, () => resolve(undefined));
      this.#world.post({ type: 'token', id });
    });
    this.#tokens.delete(id);
    if (token === undefined) return;
    try {
      this.#core?.setToken(token);
    } catch {
      // Too long to be a token: the relay decides about the last one.
    }
  }

  #command(id: number, command: CoreCommand): void {
    let failure: unknown;
    this.#run(
      (core, now) => core.command(now, JSON.stringify(command)),
      (event) => {
        if (isCommandFailed(event)) failure = event;
        return isCommandFailed(event);
      },
    );
    this.#world.post(failure === undefined ? { type: 'done', id } : { type: 'done', id, failure });
  }

  #stats(id: number): void {
    const core = this.#core ? JSON.parse(this.#core.stats()) : {};
    this.#world.post({ type: 'stats', id, stats: { now: this.#world.now(), transforms: this.#transforms.stats(), core } });
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
      this.#line?.close();
      return this.#fail('internal', `The core stopped: ${error instanceof Error ? error.message : 'unknown'}.`);
    }
    for (const output of outputs) this.#carryOut(output, swallow);
    if (this.#transforms.release() > 0) this.#missKey();
    this.#schedule(core);
  }

  #carryOut(output: CoreOutput, swallow: (event: unknown) => boolean): void {
    if ('send' in output) {
      this.#line?.send(output.send);
    } else if ('event' in output) {
      const { event } = output;
      if (hasName(event, 'closing')) this.#line?.leaveAlone(Number(event['closing']));
      if (!swallow(event)) this.#world.post({ type: 'event', event });
    } else if ('connect' in output) {
      this.#again(output.connect.fresh);
    } else {
      this.#line?.close();
    }
  }

  #again(fresh: boolean): void {
    this.#early = undefined;
    this.#line?.again({ fresh, prepare: fresh && this.#renewable ? () => this.#renewToken() : undefined });
  }

  /** Frames waited for their key in vain: the core asks for it. */
  #missKey(): void {
    const now = this.#world.now();
    if (now - this.#missedKeyAt < MISSING_KEY_PAUSE) return;
    this.#missedKeyAt = now;
    this.#run((core, at) => core.command(at, JSON.stringify({ missing_key: {} })), isCommandFailed);
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

function isCommandFailed(event: unknown): boolean {
  return hasName(event, 'command_failed');
}

function hasName(event: unknown, name: string): event is Record<string, unknown> {
  return typeof event === 'object' && event !== null && name in event;
}
