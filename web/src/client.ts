/** Joining a call. */

import { Call, type JoinStage } from './call.ts';
import { ConclaveError } from './errors.ts';
import { relayAddress, unsupported } from './support.ts';

/** What {@link Conclave.join} needs. */
export interface JoinOptions {
  /** The relay: any of its addresses, e.g. `https://relay.example`. Several relays take turns when one does not answer. */
  readonly url: string | URL | readonly (string | URL)[];
  /** What people join: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. */
  readonly call: string;
  /** Who joins: what the access token's `sub` says. */
  readonly user: string;
  /** What this device is called. @default the browser and its system, e.g. "Chrome on Linux" */
  readonly name?: string;
  /**
   * The access token, or what fetches one. Read by the relay alone. A function is called again when another token is
   * needed: to join afresh after the seat was lost, and for a relay that was restarted. A text is shown again.
   */
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
  const urls = (options.url instanceof URL || typeof options.url === 'string' ? [options.url] : options.url).map(relayAddress);
  if (urls.length === 0) throw new ConclaveError('bad_options', { message: 'A call needs a relay.' });
  throwIfAborted(signal);
  const { token: source } = options;
  const token = await fetchToken(source);
  throwIfAborted(signal);
  const { call: name, user } = options;
  const profile = { call: name, user, name: options.name ?? deviceName(navigator.userAgent), token };
  const worker = new Worker(new URL('./worker/worker.ts', import.meta.url), { type: 'module', name: 'conclave' });
  const call = new Call({
    worker,
    urls,
    profile,
    ...(typeof source === 'function' && { renew: () => fetchToken(source) }),
    ...(options.onProgress && { onProgress: options.onProgress }),
  });
  watchNetwork(call);
  const abort = (): void => call.abandon(new ConclaveError('aborted'));
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await call.ready;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
  return call;
}

/** When the network comes back, or somebody looks at the page again, the next try is not waited for. */
function watchNetwork(call: Call): void {
  const hurry = (): void => call.hurry();
  addEventListener('online', hurry);
  document.addEventListener('visibilitychange', hurry);
  call.on('ended', () => {
    removeEventListener('online', hurry);
    document.removeEventListener('visibilitychange', hurry);
  });
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
