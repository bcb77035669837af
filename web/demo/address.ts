/** What the page's address says, and where its access token comes from. */

import { ConclaveError, type VideoCodec } from '../src/index.ts';

/** What stands behind `?` or `#`: `#call=demo&token=…`. A token belongs behind `#`, which is sent to no server. */
export interface Address {
  readonly call: string;
  readonly name: string;
  readonly token: string;
  /** A small picture: saves data and battery. */
  readonly small: boolean;
  /** Codecs in which pictures are liked best, as `codecs=av1,vp9`. */
  readonly codecs: readonly VideoCodec[];
  /** The media server that the call goes through; absent when pictures go from browser to browser. */
  readonly server?: { readonly url: string };
}

/** Where `make janus` listens. */
const JANUS = 'ws://127.0.0.1:8188';

/** Reads an address. */
export function readAddress(href: string): Address {
  const url = new URL(href);
  const hash = new URLSearchParams(url.hash.slice(1));
  const get = (key: string): string => hash.get(key) ?? url.searchParams.get(key) ?? '';
  // Names that stand for no codec are passed over where they are used.
  const codecs = get('codecs').toLowerCase().split(',').filter((name) => name !== '') as VideoCodec[];
  const server = get('sfu') === 'janus' ? { server: { url: get('janus') || JANUS } } : {};
  return { call: get('call'), name: get('name'), token: get('token'), small: get('small') !== '', codecs, ...server };
}

/** The link to give to others: the call and the way its pictures go, and nothing of who made it. */
export function invitation(href: string, call: string): string {
  const { server } = readAddress(href);
  const way = server && { sfu: 'janus', ...(server.url !== JANUS && { janus: server.url }) };
  const url = new URL(href);
  url.search = '';
  url.hash = new URLSearchParams({ call, ...way }).toString();
  return url.href;
}

/** This page once more, with the call through the media server. */
export function throughServer(href: string, call: string): string {
  const url = new URL(href);
  const hash = new URLSearchParams(url.hash.slice(1));
  hash.set('call', call);
  hash.set('sfu', 'janus');
  url.hash = hash.toString();
  return url.href;
}

/** Who an access token (a JWT) was made out to. Nothing is checked: the relay does that. */
export function subjectOf(token: string): string | undefined {
  try {
    const payload = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(payload), (char) => char.codePointAt(0) ?? 0);
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === 'string' ? sub : undefined;
  } catch {
    return undefined;
  }
}

/** Asks a relay in development mode for a token. */
export async function developmentToken(call: string, user: string): Promise<string> {
  let response: Response;
  try {
    response = await fetch(new URL('/dev/token', location.href), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ call, user }),
    });
  } catch (cause) {
    throw new ConclaveError('unreachable', { cause });
  }
  if (response.status === 400 || response.status === 422) {
    throw new ConclaveError('bad_options', { message: 'The relay does not take this name or call name.' });
  }
  if (!response.ok) throw new ConclaveError('token_unavailable');
  const { token } = (await response.json()) as { token: string };
  return token;
}
