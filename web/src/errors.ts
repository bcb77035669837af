/**
 * Every way in which joining or staying in a call can fail, in one table: what a program matches, and whether trying
 * again helps. Words for people are the application's business; `message` is one plain English sentence.
 */

/** How the relay closes a connection: its name on the wire, its WebSocket close code, and its sentence. */
const RELAY_CODES = {
  malformed: [4000, false, 'The message is not what the protocol says.'],
  join_timeout: [4001, true, 'No join came within five seconds of connecting.'],
  token_refused: [4002, false, 'The token is not valid here.'],
  token_expired: [4003, true, 'The token has expired.'],
  wrong_call: [4004, false, 'The token is for another call.'],
  bad_card: [4005, false, 'The device card is malformed or its signature does not verify.'],
  bad_proof: [4006, false, 'The join proof does not verify.'],
  bad_keys: [4007, false, 'The one-time keys are malformed or their signature does not verify.'],
  slow_consumer: [4008, true, 'The client did not read fast enough.'],
  too_large: [4009, false, 'The message is over the size limit.'],
  too_fast: [4010, true, 'The client sent more messages than its limit allows.'],
  version: [4011, false, 'The client and the relay speak different protocol versions.'],
  call_full: [4012, true, 'The call has no free seat.'],
  replaced: [4013, false, 'The same device joined this call again.'],
  removed: [4014, false, 'The lead removed this device from the call.'],
  closing: [4015, true, 'The relay is shutting down.'],
  too_many_connections: [4016, true, 'Too many connections from this address.'],
  unresponsive: [4017, true, 'The client did not answer pings.'],
  not_text: [4018, false, 'Messages are JSON text; this one was binary.'],
  user_mismatch: [4019, false, 'The card names another user than the token.'],
  role_refused: [4020, false, 'The token does not allow this role.'],
  too_deep: [4021, false, 'The JSON is nested too deeply.'],
  join_first: [4022, false, 'The first message of a connection must be join, resume or restore.'],
  too_many_calls: [4023, true, 'The relay serves as many calls as it may.'],
  lost_seat: [4024, true, 'The relay no longer holds this seat: join afresh.'],
} as const satisfies Record<string, readonly [number, boolean, string]>;

/** What goes wrong on this side of the connection, or on the way. */
const LOCAL_CODES = {
  insecure_context: [false, 'Encrypted calls need a page on https, or on localhost.'],
  unsupported_browser: [false, 'This browser cannot encrypt media in a worker.'],
  out_of_step: [true, 'This device could not follow the call and has to join again.'],
  aborted: [false, 'Joining was aborted.'],
  bad_options: [false, 'A join option is not what it should be.'],
  token_unavailable: [true, 'No access token could be had.'],
  unreachable: [true, 'The relay cannot be reached.'],
  disconnected: [true, 'The connection to the relay is gone.'],
  left: [false, 'This device has left the call.'],
  worker_lost: [true, 'The worker that holds the keys is gone.'],
  internal: [true, 'Something that must not happen happened.'],
  no_key: [true, 'This device has no key yet.'],
  not_lead: [false, 'Only the lead can do this.'],
  unknown_member: [false, 'The member is not in the call.'],
  offline: [true, 'The connection is down and too much waits for it already.'],
  too_long: [false, 'The message is too long.'],
  unprotected_media: [true, 'Media left this device without passing the worker; the connection was torn down.'],
  not_protectable: [false, 'The media of this connection cannot be encrypted: make it with createPeerConnection, or protect it before it has senders.'],
  connection_failed: [true, 'No media connection to a member could be made.'],
  media_server: [true, 'The media server cannot be used.'],
  bad_signal: [true, 'A member sent connection data that cannot be used.'],
} as const satisfies Record<string, readonly [boolean, string]>;

/** A relay's reason to close, by its name on the wire. */
export type RelayCode = keyof typeof RELAY_CODES;

/** What a {@link ConclaveError} can be. */
export type ErrorCode = RelayCode | keyof typeof LOCAL_CODES;

/** More about an error, as far as it is known. */
export interface ErrorDetails {
  /** One sentence; the table's when absent. */
  readonly message?: string;
  /** The order number of the member that it is about. */
  readonly member?: number;
  /** The epoch that it is about: `[term, count]`. */
  readonly epoch?: readonly [number, number];
  /** What lies beneath. */
  readonly cause?: unknown;
}

/** The only error that this package throws, rejects with or hands to a listener. */
export class ConclaveError extends Error {
  /** What a program matches. */
  readonly code: ErrorCode;
  /** Trying the same thing again, after a pause or with a fresh token, may work. */
  readonly retryable: boolean;
  /** The order number of the member that it is about. */
  readonly member?: number;
  /** The epoch that it is about. */
  readonly epoch?: readonly [number, number];

  constructor(code: ErrorCode, details: ErrorDetails = {}) {
    const [retryable, sentence] = lookUp(code);
    super(details.message ?? sentence, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'ConclaveError';
    this.code = code;
    this.retryable = retryable;
    if (details.member !== undefined) this.member = details.member;
    if (details.epoch !== undefined) this.epoch = details.epoch;
  }
}

/** The relay's close codes, for those who keep two tables in step. */
export function relayCodes(): ReadonlyMap<RelayCode, { number: number; retryable: boolean; sentence: string }> {
  const entries = Object.entries(RELAY_CODES) as [RelayCode, readonly [number, boolean, string]][];
  return new Map(entries.map(([name, [number, retryable, sentence]]) => [name, { number, retryable, sentence }]));
}

/** The relay's reason behind a WebSocket close code; `undefined` for a code that is not the relay's. */
export function codeOfClose(number: number): RelayCode | undefined {
  for (const [name, code] of relayCodes()) if (code.number === number) return name;
  return undefined;
}

/** Whether a text from outside names an error of this package. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(RELAY_CODES, text) || Object.hasOwn(LOCAL_CODES, text);
}

function lookUp(code: ErrorCode): readonly [boolean, string] {
  if (Object.hasOwn(RELAY_CODES, code)) {
    const [, retryable, sentence] = RELAY_CODES[code as RelayCode];
    return [retryable, sentence];
  }
  return LOCAL_CODES[code as keyof typeof LOCAL_CODES];
}
