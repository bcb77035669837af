/** Joining a call. */

import { Call, type JoinStage } from './call.ts';
import { ConclaveError } from './errors.ts';
import { relayAddress, unsupported } from './support.ts';

/** What {@link Conclave.join} needs. */
export interface JoinOptions {
  /** The relay: any of its addresses, e.g. `https://relay.example`. */
  readonly url: string | URL;
  /** What people join: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. */
  readonly call: string;
  /** Who joins: what the access token's `sub` says. */
  readonly user: string;
  /** What this device is called. @default the browser and its system, e.g. "Chrome on Linux" */
  readonly name?: string;
  /** The access token, or what fetches one. Read by the relay alone. */
  readonly token: string | (() => Promise<string>);
  /** Ends a join that takes too long. After the join it has no effect: use {@link Call.leave}. */
  readonly signal?: AbortSignal;
  /** Told how far the join has come. */
  readonly onProgress?: (stage: JoinStage) => void;
}

/** Joins a call; resolves once this device holds a key. */
async function join(options: JoinOptions): Promise<Call> {
  const { signal } = options;
  const reason = unsupported();
  if (reason) throw reason;
  const url = relayAddress(options.url);
  throwIfAborted(signal);
  const token = await fetchToken(options.token);
  throwIfAborted(signal);
  const { call: name, user } = options;
  const profile = { call: name, user, name: options.name ?? deviceName(navigator.userAgent), token };
  const worker = new Worker(new URL('./worker/worker.ts', import.meta.url), { type: 'module', name: 'conclave' });
  const call = new Call({ worker, url, profile, ...(options.onProgress && { onProgress: options.onProgress }) });
  const abort = (): void => call.abandon(new ConclaveError('aborted'));
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await call.ready;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
  return call;
}

/** The way in. */
export const Conclave = { join } as const;

/** "Chrome on Linux": from a user agent text, which is all that a browser tells of itself. */
export function deviceName(userAgent: string): string {
  const browsers: [string, RegExp][] = [
    ['Edge', /Edg\//],
    ['Opera', /OPR\//],
    ['Firefox', /Firefox\//],
    ['Chrome', /Chrome\/|CriOS\//],
    ['Safari', /Safari\//],
  ];
  const systems: [string, RegExp][] = [
    ['Android', /Android/],
    ['iOS', /iPhone|iPad/],
    ['Windows', /Windows/],
    ['macOS', /Mac OS X/],
    ['Linux', /Linux/],
  ];
  const find = (list: [string, RegExp][]): string | undefined => list.find(([, pattern]) => pattern.test(userAgent))?.[0];
  const [browser, system] = [find(browsers) ?? 'Browser', find(systems)];
  return system === undefined ? browser : `${browser} on ${system}`;
}

async function fetchToken(token: JoinOptions['token']): Promise<string> {
  if (typeof token === 'string') return token;
  try {
    return await token();
  } catch (cause) {
    if (cause instanceof ConclaveError) throw cause;
    throw new ConclaveError('token_unavailable', { cause });
  }
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new ConclaveError('aborted');
}
