/** Whether this page may hold an encrypted call at all. Checked before anything is asked of the person. */

import { ConclaveError } from './errors.ts';
import { wayOf, type MediaSurroundings } from './media/attachment.ts';

/** What is looked at: `globalThis` in a browser. */
export interface Surroundings extends MediaSurroundings {
  readonly isSecureContext?: boolean;
  readonly Worker?: unknown;
  readonly WebAssembly?: unknown;
  readonly WebSocket?: unknown;
  readonly crypto?: { readonly getRandomValues?: unknown };
  readonly RTCPeerConnection?: unknown;
}

/**
 * Why this page cannot hold a call: `insecure_context` or `unsupported_browser`, the message naming what is missing;
 * `undefined` when it can.
 */
export function unsupported(where: Surroundings = globalThis as Surroundings): ConclaveError | undefined {
  // Outside a secure context the features below are missing too, but that is not what has to be mended.
  if (!where.isSecureContext) return new ConclaveError('insecure_context');
  const needed: [string, unknown][] = [
    ['Worker', where.Worker],
    ['WebAssembly', where.WebAssembly],
    ['WebSocket', where.WebSocket],
    ['crypto.getRandomValues', where.crypto?.getRandomValues],
    ['RTCPeerConnection', where.RTCPeerConnection],
    // The older way is named by nobody: whoever looks for what is missing looks for the standard's.
    ['RTCRtpScriptTransform', wayOf(where)],
  ];
  const missing = needed.filter(([, value]) => value === undefined).map(([name]) => name);
  if (missing.length === 0) return undefined;
  return new ConclaveError('unsupported_browser', {
    message: `This browser cannot encrypt media in a worker: it has no ${missing.join(', no ')}.`,
  });
}

/** The relay's WebSocket address, from any of its addresses: `https://host` becomes `wss://host/v1/ws`. */
export function relayAddress(url: string | URL): string {
  let address: URL;
  try {
    address = new URL(url);
  } catch (cause) {
    throw new ConclaveError('bad_options', { message: `"${String(url)}" is no URL.`, cause });
  }
  const schemes: Record<string, string> = { 'http:': 'ws:', 'https:': 'wss:', 'ws:': 'ws:', 'wss:': 'wss:' };
  const scheme = schemes[address.protocol];
  if (scheme === undefined) {
    throw new ConclaveError('bad_options', { message: `A relay has an http, https, ws or wss URL, not "${address.protocol}".` });
  }
  const path = address.pathname === '/' ? '/v1/ws' : address.pathname;
  return `${scheme}//${address.host}${path}`;
}
