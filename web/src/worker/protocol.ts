/** What the page and its worker say to each other. No key, and nothing that a key could be made of, is among it. */

import type { ErrorCode } from '../errors.ts';

/** A command as the core reads it. */
export type CoreCommand =
  | { leave: Record<string, never> }
  | { rotate: Record<string, never> }
  | { missing_key: Record<string, never> }
  | { remove: { joined: number } }
  | { send: { to: number | null; payload: string } };

/** Who joins what. */
export interface Profile {
  readonly call: string;
  readonly user: string;
  readonly name: string;
  readonly token: string;
  /** The page can be asked for another token. */
  readonly renewable?: boolean;
}

/** From the page. */
export type ToWorker =
  /** Addresses of relays, at least one: the first is tried first, the next one after each failure. */
  | { readonly type: 'join'; readonly urls: readonly string[]; readonly profile: Profile }
  /** The answer to a question for a token; without one when there is none. */
  | { readonly type: 'token'; readonly id: number; readonly token?: string }
  /** The network seems to be there again, or somebody looks at the page: a good moment to try. */
  | { readonly type: 'hurry' }
  | { readonly type: 'command'; readonly id: number; readonly command: CoreCommand }
  | { readonly type: 'stats'; readonly id: number }
  /** The older encoded streams of one end, moved here. */
  | { readonly type: 'streams'; readonly options: TransformOptions; readonly readable: ReadableStream; readonly writable: WritableStream };

/** To the page. */
export type FromWorker =
  /** An event of the core. */
  | { readonly type: 'event'; readonly event: unknown }
  /** A command was carried out; `failure` is the core's `command_failed`, if it was not. */
  | { readonly type: 'done'; readonly id: number; readonly failure?: unknown }
  | { readonly type: 'stats'; readonly id: number; readonly stats: WorkerStats }
  /** A fresh access token is needed. */
  | { readonly type: 'token'; readonly id: number }
  /** No relay answered, and none ever has. */
  | { readonly type: 'unreachable' }
  /** The core is done and its last connection closed: nothing more will come. */
  | { readonly type: 'closed' }
  /** The worker cannot go on. */
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string };

/** What the page passes along with a transform: which end of which track it is. */
export type TransformOptions =
  | { readonly kind: 'seal'; readonly id: number }
  | { readonly kind: 'open'; readonly id: number; readonly joined: number; readonly seat: number };

/** Frames that went through one transform. */
export interface TransformStats {
  readonly id: number;
  readonly kind: 'seal' | 'open';
  /** The order number of the sender, on the receiving side. */
  readonly joined?: number;
  /** Frames that came in, empty ones apart. */
  readonly framesIn: number;
  /** Frames that were sealed or opened. */
  readonly framesOut: number;
  /** Bytes of those frames, as they left the worker. */
  readonly bytesOut: number;
  /** Frames that were not, and are gone: no key, not authentic, or seen before. */
  readonly dropped: number;
  /** Frames that wait for their key right now. */
  readonly waiting: number;
  /** The last frame did not get through, or waits. */
  readonly stuck: boolean;
}

/** Counters of the worker. */
export interface WorkerStats {
  /** When they were read, by the worker's clock, in milliseconds. */
  readonly now: number;
  readonly transforms: readonly TransformStats[];
  /** The core's own, by seat. */
  readonly core: CoreStats;
}

/** What the core counts. */
export interface CoreStats {
  readonly seats?: Readonly<Record<string, SeatStats>>;
}

/** Frames of one sender, as the core saw them. */
export interface SeatStats {
  readonly opened: number;
  /** Did not open under the key that they name. */
  readonly undecryptable: number;
  /** Had to wait for their key; each counts once more for what became of it. */
  readonly held: number;
  /** Came a second time. */
  readonly duplicates: number;
  /** Of an epoch that is over or began before this device came. */
  readonly late: number;
  /** Their key did not come in time. */
  readonly expired: number;
  /** No frames of this sender at all: malformed, or naming another seat. */
  readonly refused: number;
  /** Since when frames have been coming that there is no key for, by the worker's clock in milliseconds. */
  readonly waiting_since?: number | null;
}
