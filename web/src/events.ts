/**
 * What a call tells. The worker hands over the core's events as JSON, one object with one key; this file names their
 * shapes and turns them into the typed events of {@link Call}.
 */

import { ConclaveError, isErrorCode } from './errors.ts';
import { fromBase64Url } from './bytes.ts';
import type { MediaStats } from './media/stats.ts';

/** One media secret and one roster: term and count, ordered by term, then count. */
export type Epoch = readonly [term: number, count: number];

/** A headless bot that leads first, an ordinary participant, or one that records. Fixed by the commit that adds the member. */
export type Role = 'lead_bot' | 'member' | 'recorder';

/** Why an epoch began. `join` moves the ratchet; everything else makes a new session. */
export type Cause = 'start' | 'join' | 'leave' | 'remove' | 'lead_change' | 'timer' | 'request';

/** Why somebody is gone. */
export type LeftReason = 'closed' | 'replaced' | 'removed' | 'refused' | 'left';

/** Why somebody keeps their seat and cannot lead: no connection, no sign of life, or by their own word. */
export type AwayReason = 'dropped' | 'silent' | 'declined';

/**
 * How the own connection is. `down`: it dropped; the seat and the keys are kept, media flows on, and the worker looks for
 * the relay. `rejoining`: the seat is lost; this device joins again, with new keys and another order number.
 */
export type LinkState = 'up' | 'down' | 'rejoining';

/**
 * Why the newest epoch is missing: its commit came and did not hold, it never came, or frames came whose key this device
 * does not have.
 */
export type KeyMissing = 'refused' | 'withheld' | 'frames';

/**
 * Why nothing is sealed: the newest epoch is missing, so that somebody who was shut out may still hold the older one; or
 * nothing fresh was heard of the lead for too long.
 */
export type PauseReason = 'behind' | 'lease';

/** Somebody in the call. */
export interface Member {
  /** The small number in frame headers; reused after they leave. */
  readonly seat: number;
  /** The order number of their join: names them everywhere, never reused. */
  readonly joined: number;
  readonly role: Role;
  /** Who they say they are; the access token vouches for it to the relay. */
  readonly user: string;
  /** What their device is called. */
  readonly name: string;
  /** The device's fingerprint: its Ed25519 key, base64url. */
  readonly ed25519: string;
  /** The lead has committed them: they hold a key. Before that the relay merely claims that they are here. */
  readonly committed: boolean;
  /**
   * They have shown this device by their own key that they hold the call as it does; a relay cannot make that up. In an
   * honest call everybody has within 12 seconds of being committed. Always true of this device.
   */
  readonly confirmed: boolean;
  /** The relay says that they keep their seat and are not really there; absent when they are. */
  readonly away?: AwayReason;
}

/** A new epoch, and what it changed. */
export interface EpochInfo {
  readonly epoch: Epoch;
  readonly cause: Cause;
  /** Order number of the lead that made it. */
  readonly lead: number;
  /** The roster: everybody who holds the key. */
  readonly members: readonly Member[];
  /** Who is in this roster and was not in the one before. Everybody, on this device's first epoch. */
  readonly added: readonly Member[];
  /** Who was in the roster before and is not in this one. */
  readonly removed: readonly Member[];
  /** Hash of the roster: equal on all members. */
  readonly roster: string;
  /** Equal for two holders of the same media secret; tells nothing of it. */
  readonly fingerprint: string;
  /** Thirty digits in six groups for people to compare: changes with people and devices, not with rotations. */
  readonly securityCode: string;
}

/** A message that another member sealed for this call. */
export interface Message {
  /** Order number of the sender: signed, and in the roster. */
  readonly from: number;
  /** It was for this device alone. */
  readonly direct: boolean;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Somebody cheats, or something is badly broken. No key was installed; the call goes on as it was. */
export interface SecurityEvent {
  /** The name of what happened, e.g. `wrong_lead`. */
  readonly kind: string;
  /** One sentence. */
  readonly message: string;
}

/** Everything that {@link Call.on} can listen to. */
export interface CallEvents {
  /** The list of members changed in any way. */
  members: readonly Member[];
  /** Somebody leads. */
  lead: { readonly term: number; readonly member: number; readonly me: boolean };
  /** This device holds a new epoch: frames of it can be opened. */
  epoch: EpochInfo;
  /** This device seals under this epoch from here on. */
  active: Epoch;
  /** Somebody is gone; the epoch without them follows. */
  left: { readonly member: number; readonly reason: LeftReason };
  /** The own connection dropped, is whole again, or is made anew with another seat. Media flows on while it is `down`. */
  link: LinkState;
  /** Somebody keeps their seat and cannot lead for now. */
  away: { readonly member: number; readonly reason: AwayReason };
  /** Somebody who was away is here: their order number. */
  back: number;
  /** A member has shown by their own key that they are there: their order number, once. */
  confirmed: number;
  /** This device lacks the newest epoch and has asked for it: frames of it cannot be opened. */
  key_missing: KeyMissing;
  /** The newest epoch is here. */
  key_found: undefined;
  /** This device seals nothing for now: nobody sees or hears it. */
  paused: PauseReason;
  /** This device seals again. */
  resumed: undefined;
  /** An application message. */
  message: Message;
  security: SecurityEvent;
  /** What became of a member's frames: at most once a second for each member, when it changed. */
  media_stats: MediaStats;
  /** The relay goes away; this device comes back after that many milliseconds, by itself. */
  closing: number;
  /** Something failed; the call goes on. */
  error: ConclaveError;
  /** Media of this sender left without passing the worker. The sender has been stopped. */
  unprotected: { readonly sender: RTCRtpSender; readonly error: ConclaveError };
  /** The call is over: no key is left. The error's code says why; `left` when this device left by itself. */
  ended: ConclaveError;
}

/** A member as the core names them. */
export type CoreMember = Omit<Member, 'committed' | 'confirmed' | 'away'>;

/** The core's events, `{"epoch": {…}}` flattened to `{type: "epoch", …}`. */
export type CoreEvent =
  | { type: 'seated'; seat: number; joined: number; members: CoreMember[]; ice_servers: RTCIceServer[] }
  | ({ type: 'member_arrived' } & CoreMember)
  | { type: 'member_left'; joined: number; reason: LeftReason }
  | { type: 'link'; state: LinkState }
  | { type: 'member_away'; joined: number; reason: AwayReason }
  | { type: 'member_back'; joined: number }
  | { type: 'key_missing'; reason: KeyMissing }
  | { type: 'key_found' }
  | { type: 'paused'; reason: PauseReason }
  | { type: 'resumed' }
  | { type: 'lead_changed'; term: number; joined: number; me: boolean }
  | {
      type: 'epoch';
      epoch: Epoch;
      cause: Cause;
      lead: number;
      members: CoreMember[];
      roster: string;
      fingerprint: string;
      security_code: string;
    }
  | { type: 'active'; epoch: Epoch }
  | { type: 'member_present'; joined: number }
  | { type: 'member_confirmed'; joined: number }
  | ({ type: 'message' } & Message)
  | { type: 'security'; kind: string; message: string }
  | { type: 'refused'; error: ConclaveError }
  | { type: 'protocol_error'; error: ConclaveError }
  | { type: 'command_failed'; error: ConclaveError }
  | { type: 'closing'; after: number }
  | { type: 'ended'; error: ConclaveError }
  | { type: 'unknown'; name: string };

/**
 * Reads one event of the core. The core is our own, so shapes are trusted; names that a newer core may add are kept
 * as `unknown`.
 */
export function readCoreEvent(event: unknown): CoreEvent {
  const [name, body] = onlyEntry(event);
  switch (name) {
    case 'seated':
    case 'member_arrived':
    case 'member_left':
    case 'member_away':
    case 'lead_changed':
    case 'epoch':
      return { type: name, ...(body as object) } as CoreEvent;
    case 'active':
      return { type: name, epoch: body as Epoch };
    case 'member_present':
    case 'member_confirmed':
    case 'member_back':
      return { type: name, joined: body as number };
    case 'link':
      return { type: name, state: body as LinkState };
    case 'key_missing':
      return { type: name, reason: body as KeyMissing };
    case 'paused':
      return { type: name, reason: body as PauseReason };
    case 'key_found':
    case 'resumed':
      return { type: name };
    case 'closing':
      return { type: name, after: body as number };
    case 'message': {
      const message = body as { from: number; direct: boolean; payload: string };
      return { type: name, ...message, payload: fromBase64Url(message.payload) };
    }
    case 'security': {
      const security = body as { kind: unknown; message: string };
      return { type: name, kind: onlyEntry(security.kind)[0], message: security.message };
    }
    case 'refused': {
      const refused = body as { code: string; message: string };
      return { type: name, error: errorOf(refused.code, refused.message) };
    }
    case 'protocol_error': {
      const { message } = body as { message: string };
      return { type: name, error: new ConclaveError('malformed', { message }) };
    }
    case 'command_failed': {
      const failed = body as { kind: unknown; message: string };
      return { type: name, error: commandError(onlyEntry(failed.kind), failed.message) };
    }
    case 'ended':
      return { type: name, error: endError(onlyEntry(body)) };
    default:
      return { type: 'unknown', name };
  }
}

/** Why a session is over, as an error: `"left"`, `{"closed": "token_refused"}`, `{"version": {…}}`. */
function endError([reason, detail]: [string, unknown]): ConclaveError {
  switch (reason) {
    case 'closed':
      return errorOf(String(detail));
    case 'version': {
      const { relay, ours } = detail as { relay: number; ours: number };
      const older = ours < relay ? 'this page is older than the relay' : 'the relay is older than this page';
      return new ConclaveError('version', {
        message: `The relay speaks protocol version ${relay}, this page version ${ours}: ${older}.`,
      });
    }
    case 'internal':
      return new ConclaveError('internal', { message: `The core stopped: ${onlyEntry(detail)[0]}.` });
    default:
      return errorOf(reason);
  }
}

function commandError([kind, detail]: [string, unknown], message: string): ConclaveError {
  if (kind === 'ended') return new ConclaveError('left', { message });
  const code = isErrorCode(kind) ? kind : 'internal';
  return new ConclaveError(code, typeof detail === 'number' ? { message, member: detail } : { message });
}

function errorOf(code: string, message?: string): ConclaveError {
  const details = message === undefined ? {} : { message };
  return isErrorCode(code)
    ? new ConclaveError(code, details)
    : new ConclaveError('internal', { message: message ?? `The relay said ${code}.` });
}

/** An externally tagged value: `"name"` or `{"name": body}`. */
function onlyEntry(value: unknown): [string, unknown] {
  if (typeof value === 'string') return [value, undefined];
  const [entry] = Object.entries((value ?? {}) as Record<string, unknown>);
  return entry ?? ['', undefined];
}
