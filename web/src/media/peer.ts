/** The connection to one member: one track of each kind in each direction, all of them protected. */

import type { Call } from '../call.ts';
import { ConclaveError } from '../errors.ts';
import { allowedCodecs, type Kind, type VideoCodec } from './codecs.ts';
import { gathered } from './gathering.ts';
import { Negotiation } from './negotiation.ts';
import type { Sends, Signal } from './signals.ts';

/** How a connection is. */
export type PeerState =
  /** On the way, for the first time. */
  | 'connecting'
  | 'connected'
  /** It was there; the network is being tried again. */
  | 'interrupted'
  /** Given up. */
  | 'failed';

/** What an application sees of a peer. */
export interface PeerView {
  /** The member's order number. */
  readonly joined: number;
  readonly state: PeerState;
  /** The member's camera and microphone, for a `<video>` element. The same object for as long as the peer lives. */
  readonly stream: MediaStream;
  /** What the member says it sends: a tile without video shows something else. */
  readonly sends: Sends;
}

/** What a peer needs, and whom it tells. */
export interface PeerOptions {
  readonly call: Call;
  readonly joined: number;
  /** Which connection to this member this is. */
  readonly n: number;
  /** Makes the transceivers and the first offer, and does not give way. */
  readonly initiator: boolean;
  readonly tracks: Readonly<Record<Kind, MediaStreamTrack | null>>;
  /** Best first. */
  readonly codecs: readonly VideoCodec[];
  send(signal: Signal): void;
  /** The state changed. */
  changed(): void;
  error(error: ConclaveError): void;
}

/** A connection that is not there after so long is tried again. */
const CONNECT_TIME = 8000;
/** A lost connection may come back by itself for so long before ICE starts anew. */
const INTERRUPTED_TIME = 3000;
/** How often ICE may start anew before the connection is given up. */
const RESTARTS = 1;

/** One connection. */
export class Peer {
  readonly joined: number;
  readonly n: number;
  readonly stream = new MediaStream();
  readonly #options: PeerOptions;
  readonly #connection: RTCPeerConnection;
  readonly #negotiation: Negotiation;
  readonly #tracks: Record<Kind, MediaStreamTrack | null>;
  /** One for each kind; a member that offers more gets no answer to the rest. */
  readonly #transceivers = new Map<Kind, RTCRtpTransceiver>();
  #state: PeerState = 'connecting';
  #restarts = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: PeerOptions) {
    this.#options = options;
    this.joined = options.joined;
    this.n = options.n;
    this.#tracks = { ...options.tracks };
    this.#connection = options.call.createPeerConnection({ bundlePolicy: 'max-bundle' });
    this.#negotiation = new Negotiation(this.#connection, {
      n: options.n,
      polite: !options.initiator,
      send: (signal) => options.send(signal),
      beforeAnswer: () => this.#beforeAnswer(),
      gathered: () => gathered(this.#connection),
    });
    this.#listen();
    this.#armTimer(CONNECT_TIME);
    if (options.initiator) for (const kind of ['audio', 'video'] as const) this.#makeTransceiver(kind);
  }

  get state(): PeerState {
    return this.#state;
  }

  /** Whether this sender belongs here. */
  owns(sender: RTCRtpSender): boolean {
    return this.#connection.getSenders().includes(sender);
  }

  /** The other side said something about this connection. */
  async receive(signal: Extract<Signal, { type: 'description' | 'candidates' }>): Promise<void> {
    try {
      await this.#negotiation.receive(signal);
    } catch (error) {
      if (this.#connection.signalingState !== 'closed') this.#options.error(withMember(error, this.joined));
    }
  }

  /** Sends another track from here on, or none. */
  setTrack(kind: Kind, track: MediaStreamTrack | null): void {
    this.#tracks[kind] = track;
    this.#send(kind);
  }

  /** What WebRTC counted. */
  getStats(): Promise<RTCStatsReport> {
    return this.#connection.getStats();
  }

  /** Gives up: keeps what was seen last. */
  fail(): void {
    this.close();
    this.#setState('failed');
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#connection.close();
  }

  #listen(): void {
    const connection = this.#connection;
    connection.onnegotiationneeded = () => {
      // The side that answers has nothing to ask for before the first offer came.
      if (this.#transceivers.size > 0) void this.#offer();
    };
    connection.onicecandidate = ({ candidate }) => {
      if (candidate) this.#negotiation.candidate(candidate.toJSON());
    };
    connection.ontrack = ({ transceiver }) => this.#adopt(transceiver);
    connection.onconnectionstatechange = () => this.#follow();
  }

  async #offer(): Promise<void> {
    try {
      await this.#negotiation.offer();
    } catch (error) {
      if (this.#connection.signalingState !== 'closed') this.#options.error(withMember(error, this.joined));
    }
  }

  #makeTransceiver(kind: Kind): void {
    const transceiver = this.#connection.addTransceiver(kind, { direction: 'sendrecv' });
    this.#attach(kind, transceiver);
    this.#send(kind);
  }

  /** A transceiver that the other side's offer made, in the task that made it. */
  #adopt(transceiver: RTCRtpTransceiver): void {
    const kind = transceiver.receiver.track.kind as Kind;
    if (!this.#transceivers.has(kind)) this.#attach(kind, transceiver);
  }

  /** Both ends at once: in Chromium a transform that is set in a later task may be ignored. */
  #attach(kind: Kind, transceiver: RTCRtpTransceiver): void {
    this.#options.call.protect(transceiver.sender);
    this.#options.call.unprotect(transceiver.receiver, this.joined);
    this.#transceivers.set(kind, transceiver);
    this.#preferCodecs(kind, transceiver);
    this.stream.addTrack(transceiver.receiver.track);
  }

  #preferCodecs(kind: Kind, transceiver: RTCRtpTransceiver): void {
    const codecs = allowedCodecs(kind, RTCRtpReceiver.getCapabilities(kind)?.codecs ?? [], this.#options.codecs);
    // Where this is missing, the filter over descriptions does it alone.
    transceiver.setCodecPreferences?.(codecs);
  }

  #beforeAnswer(): void {
    for (const transceiver of this.#connection.getTransceivers()) {
      const kind = transceiver.receiver.track.kind as Kind;
      if (this.#transceivers.get(kind) === transceiver) {
        this.#preferCodecs(kind, transceiver);
        transceiver.direction = 'sendrecv';
        this.#send(kind);
      } else {
        transceiver.direction = 'inactive';
      }
    }
  }

  #send(kind: Kind): void {
    // Rejected when the connection closed meanwhile.
    this.#transceivers.get(kind)?.sender.replaceTrack(this.#tracks[kind]).catch(() => {});
  }

  #follow(): void {
    const { connectionState } = this.#connection;
    if (connectionState === 'connected') {
      clearTimeout(this.#timer);
      this.#restarts = 0;
      this.#setState('connected');
    } else if (connectionState === 'disconnected') {
      this.#setState('interrupted');
      this.#armTimer(INTERRUPTED_TIME);
    } else if (connectionState === 'failed') {
      this.#restart();
    }
  }

  #restart(): void {
    this.#restarts += 1;
    if (this.#restarts > RESTARTS) return this.fail();
    if (this.#state === 'connected') this.#setState('interrupted');
    this.#armTimer(CONNECT_TIME);
    this.#connection.restartIce();
  }

  #armTimer(milliseconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#restart(), milliseconds);
  }

  #setState(state: PeerState): void {
    if (this.#state === state || this.#state === 'failed') return;
    this.#state = state;
    this.#options.changed();
  }
}

function withMember(error: unknown, member: number): ConclaveError {
  if (error instanceof ConclaveError) return new ConclaveError(error.code, { message: error.message, member, cause: error.cause });
  return new ConclaveError('connection_failed', { member, cause: error });
}
