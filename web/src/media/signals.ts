/** What meshes say to each other: a JSON array of signals in one sealed message. SDP and ICE never travel otherwise. */

import { ConclaveError } from '../errors.ts';

/** What a member sends right now. */
export interface Sends {
  readonly audio: boolean;
  readonly video: boolean;
}

/** One signal. `n` numbers the connections between two members: signals of an earlier one mean nothing. */
export type Signal =
  /** This member has a mesh: whoever is to make the connection makes it. `again`: the last one came to nothing. */
  | { readonly type: 'hello'; readonly sends: Sends; readonly again?: boolean }
  /** What this member sends changed. */
  | { readonly type: 'sends'; readonly sends: Sends }
  | { readonly type: 'description'; readonly n: number; readonly kind: 'offer' | 'answer'; readonly sdp: string }
  | { readonly type: 'candidates'; readonly n: number; readonly candidates: readonly RTCIceCandidateInit[] };

/** Signals in one message, and candidates in one signal: a browser gathers a handful on each network interface. */
const SIGNALS = 32;
const CANDIDATES = 64;

/** Encodes signals for one message. */
export function encodeSignals(signals: readonly Signal[]): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(signals));
}

/** Reads a message. Throws `bad_signal` for anything but signals: it comes from another device, honest or not. */
export function decodeSignals(payload: Uint8Array, member: number): Signal[] {
  let list: unknown;
  try {
    list = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch (cause) {
    throw new ConclaveError('bad_signal', { member, cause });
  }
  if (!Array.isArray(list) || list.length > SIGNALS) throw new ConclaveError('bad_signal', { member });
  const signals = list.map(readSignal);
  if (signals.includes(undefined)) throw new ConclaveError('bad_signal', { member });
  // A type that a later version adds reads as null, and is passed over.
  return signals.filter((signal) => signal !== undefined && signal !== null);
}

/** `null`: of a later version. `undefined`: malformed. */
function readSignal(value: unknown): Signal | null | undefined {
  if (!isObject(value) || typeof value['type'] !== 'string') return undefined;
  switch (value['type']) {
    case 'hello':
    case 'sends': {
      const sends = readSends(value['sends']);
      if (!sends) return undefined;
      if (value['type'] === 'sends') return { type: 'sends', sends };
      return { type: 'hello', sends, again: value['again'] === true };
    }
    case 'description': {
      const { n, kind, sdp } = value;
      if (!isCount(n) || (kind !== 'offer' && kind !== 'answer') || typeof sdp !== 'string') return undefined;
      return { type: 'description', n, kind, sdp };
    }
    case 'candidates': {
      const { n, candidates } = value;
      if (!isCount(n) || !Array.isArray(candidates) || candidates.length > CANDIDATES) return undefined;
      const read = candidates.map(readCandidate);
      return read.includes(undefined) ? undefined : { type: 'candidates', n, candidates: read.filter((c) => c !== undefined) };
    }
    default:
      return null;
  }
}

function readSends(value: unknown): Sends | undefined {
  if (!isObject(value)) return undefined;
  const { audio, video } = value;
  return typeof audio === 'boolean' && typeof video === 'boolean' ? { audio, video } : undefined;
}

function readCandidate(value: unknown): RTCIceCandidateInit | undefined {
  if (!isObject(value) || typeof value['candidate'] !== 'string') return undefined;
  const { candidate, sdpMid, sdpMLineIndex, usernameFragment } = value;
  return {
    candidate,
    sdpMid: typeof sdpMid === 'string' ? sdpMid : null,
    sdpMLineIndex: typeof sdpMLineIndex === 'number' ? sdpMLineIndex : null,
    usernameFragment: typeof usernameFragment === 'string' ? usernameFragment : null,
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
