/**
 * The line to the relay: one socket after the other, with pauses between them. Knows nothing of what is said on it, and
 * has no globals of its own.
 */

import { Backoff, LONGEST, LONGEST_FOR_A_SEAT, LONGEST_FOR_KEYS } from './backoff.ts';

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

/** What a line needs from the world. */
export interface LineWorld {
  connect(url: string, events: SocketEvents): Socket;
  /** Milliseconds that never go backwards. */
  now(): number;
  /** Calls back after so many milliseconds; returns what undoes it. */
  after(milliseconds: number, callback: () => void): () => void;
  /** From 0 to 1, to spread pauses. */
  random(): number;
}

/** Whom a line tells. */
export interface LineEvents {
  text(text: string): void;
  /** The connection is gone, with this WebSocket close code. */
  lost(code: number): void;
  /** No address answered, and none ever has. */
  unreachable(): void;
  /** The line was closed from this side, and everything is said. */
  closed(code: number): void;
}

/** How the next connection is to be made. */
export interface Attempt {
  /** Nobody keeps a seat for it. */
  readonly fresh: boolean;
  /** Runs after the pause and before connecting. */
  readonly prepare?: (() => Promise<void>) | undefined;
}

/** A relay that takes nothing for so long that this much waits is gone: a commit for 1,000 members is 1 MiB. */
const SEND_BUFFER = 4 * 1024 * 1024;
/** How long one try may take: when a network comes back, the next try is there sooner than a stuck one. */
const TRY_TIME = 3000;
/** A connection that held this long was a good one: the next pause is short again. */
const HELD = 3000;
/** How long after a loss somebody may still keep the seat: a relay that is being restarted may take its time. */
const SEAT_KEPT = 60_000;
/** The longest pause that a relay which goes away may ask for. */
const CLOSING = 10_000;

/** One line, over any number of sockets. */
export class Line {
  readonly #world: LineWorld;
  readonly #events: LineEvents;
  readonly #urls: readonly string[];
  readonly #backoff = new Backoff();
  /** Whose turn it is. */
  #at = 0;
  /** Tries so far without a single success. */
  #failures: number | undefined = 0;
  #socket: Socket | undefined;
  /** Events of earlier sockets and pauses are not heard any more. */
  #generation = 0;
  #cancel: (() => void) | undefined;
  /** Ends a pause at once; there while one lasts. */
  #hurry: (() => void) | undefined;
  /** What the last connection was for. */
  #fresh = true;
  #openedAt: number | undefined;
  #lostAt = 0;
  #closing: number | undefined;
  #over = false;

  constructor(world: LineWorld, urls: readonly string[], events: LineEvents) {
    this.#world = world;
    this.#urls = urls;
    this.#events = events;
  }

  /** Connects at once. Throws when an address is none. */
  open(): void {
    this.#connect({ fresh: true });
  }

  /** Connects after a pause; the connection that may still be there is given up. */
  again(attempt: Attempt): void {
    const old = this.#socket;
    this.#drop();
    old?.close();
    if (this.#over) return;
    const now = this.#world.now();
    if (this.#openedAt !== undefined) {
      if (now - this.#openedAt >= HELD) this.#backoff.reset();
      this.#openedAt = undefined;
      this.#lostAt = now;
    }
    if (attempt.fresh && !this.#fresh) this.#backoff.ease(LONGEST_FOR_A_SEAT);
    this.#fresh = attempt.fresh;
    const forSeat = now - this.#lostAt < SEAT_KEPT ? LONGEST_FOR_A_SEAT : LONGEST_FOR_KEYS;
    const pause = Math.max(this.#backoff.next(this.#world.random(), attempt.fresh ? LONGEST : forSeat), this.#asked());
    const generation = this.#generation;
    const go = (): void => {
      this.#cancel?.();
      this.#hurry = undefined;
      void this.#prepared(attempt, generation);
    };
    this.#hurry = go;
    this.#cancel = this.#world.after(pause, go);
  }

  /** The network seems to be there, or somebody looks: a pause ends at once. */
  hurry(): void {
    if (!this.#hurry) return;
    this.#backoff.reset();
    this.#hurry();
  }

  /** The relay goes away and wants to be left alone for so many milliseconds. */
  leaveAlone(milliseconds: number): void {
    this.#closing = milliseconds;
  }

  /** Sends a text; without a connection there is nowhere for it to go. */
  send(text: string): void {
    this.#socket?.send(text);
    if ((this.#socket?.bufferedAmount ?? 0) > SEND_BUFFER) this.#socket?.close();
  }

  /** Ends the line for good; what was sent is let out first. */
  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#cancel?.();
    this.#hurry = undefined;
    if (this.#socket) this.#socket.close();
    else this.#events.closed(1000);
  }

  async #prepared(attempt: Attempt, generation: number): Promise<void> {
    await attempt.prepare?.();
    if (generation === this.#generation && !this.#over) this.#connect(attempt);
  }

  #connect(attempt: Attempt): void {
    this.#generation += 1;
    const generation = this.#generation;
    const isCurrent = (): boolean => generation === this.#generation;
    let opened = false;
    const url = this.#urls[this.#at % this.#urls.length] ?? '';
    const socket = this.#world.connect(url, {
      opened: () => {
        if (!isCurrent()) return;
        opened = true;
        this.#cancel?.();
        this.#failures = undefined;
        this.#openedAt = this.#world.now();
      },
      text: (text) => {
        if (isCurrent() && !this.#over) this.#events.text(text);
      },
      closed: (code) => {
        if (!isCurrent()) return;
        this.#drop();
        if (this.#over) this.#events.closed(code);
        else if (opened) this.#events.lost(code);
        else this.#failed(attempt);
      },
    });
    this.#socket = socket;
    this.#cancel = this.#world.after(TRY_TIME, () => {
      if (isCurrent() && !opened) socket.close();
    });
  }

  /** The next address is tried next; when none has ever answered, that is an answer too. */
  #failed(attempt: Attempt): void {
    this.#at += 1;
    if (this.#failures === undefined) return this.again(attempt);
    this.#failures += 1;
    if (this.#failures < this.#urls.length) this.#connect(attempt);
    else this.#events.unreachable();
  }

  /** The pause that a relay asked for; where there is another relay, that one is tried instead. */
  #asked(): number {
    const asked = this.#closing ?? 0;
    const elsewhere = this.#closing !== undefined && this.#urls.length > 1;
    this.#closing = undefined;
    if (elsewhere) this.#at += 1;
    return elsewhere ? 0 : Math.min(asked, CLOSING);
  }

  #drop(): void {
    this.#generation += 1;
    this.#cancel?.();
    this.#hurry = undefined;
    this.#socket = undefined;
  }
}
