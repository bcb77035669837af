/** The WASM core, as the worker uses it. One per call: it joins again by itself. */

/** Runs the protocol; holds the keys; reads no clock and no socket. Times are milliseconds that never go backwards. */
export interface Core {
  /** A text message of the relay. Returns a JSON array of {@link CoreOutput}. */
  received(now: number, text: string): string;
  /** Whether this text should wait for a fresh token. */
  needsToken(text: string): boolean;
  /** Replaces the access token for joins to come. Throws when it is too long to be one. */
  setToken(token: string): void;
  /** A JSON command. */
  command(now: number, json: string): string;
  /** The time that `nextTimeout` named has come. */
  timeout(now: number): string;
  /** The connection is gone, with this WebSocket close code. */
  disconnected(now: number, code: number): string;
  /** When to call `timeout`. */
  nextTimeout(): number | undefined;
  /** Seals an outgoing frame; `undefined`: drop it. */
  seal(codec: string, frame: Uint8Array): Uint8Array | undefined;
  /** Opens an incoming frame; `undefined`: drop it; `null`: it waits for its key under its ticket. */
  open(now: number, seat: number, codec: string, frame: Uint8Array, ticket: number): Uint8Array | undefined | null;
  /** Frames whose wait is over, in order: opened, or `undefined` for those that are lost. */
  release(now: number): [ticket: number, frame: Uint8Array | null | undefined][];
  /** Counters, as JSON. */
  stats(): string;
}

/** What the core wants done, in order. */
export type CoreOutput =
  | { send: string }
  | { event: unknown }
  /** Open a connection; `fresh`: to join with, so that a fresh token helps. */
  | { connect: { fresh: boolean } }
  | { close: true };
