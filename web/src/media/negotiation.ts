/**
 * Perfect negotiation (W3C WebRTC 1.0, section 10.7) for one connection: both sides may offer at any time, and of two
 * offers that cross, the polite side takes its own back.
 */

import { ConclaveError } from '../errors.ts';
import { keepAllowedCodecs } from './codecs.ts';
import type { Signal } from './signals.ts';

/** The part of an `RTCPeerConnection` that is used. */
export interface Connection {
  readonly signalingState: RTCSignalingState;
  readonly localDescription: RTCSessionDescriptionInit | null;
  setLocalDescription(): Promise<void>;
  setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void>;
  addIceCandidate(candidate: RTCIceCandidateInit): Promise<void>;
}

/** What belongs to one side. */
export interface Side {
  /** Which connection between the two members this is. */
  readonly n: number;
  /** Gives way when offers cross. */
  readonly polite: boolean;
  send(signal: Signal): void;
  /** Between the remote offer and the own answer: directions, codecs, tracks. */
  beforeAnswer(): void;
  /** Resolves when all candidates are gathered, or enough time has passed: they then travel in the description. */
  gathered(): Promise<void>;
}

/** One side of one connection. */
export class Negotiation {
  readonly #connection: Connection;
  readonly #side: Side;
  #makingOffer = false;
  #ignoringOffer = false;
  #settingAnswer = false;
  /** Counts local descriptions: one that was replaced while it gathered is not sent. */
  #local = 0;
  #gathering = false;
  /** Remote signals are taken one after the other: candidates belong to the description before them. */
  #queue: Promise<void> = Promise.resolve();

  constructor(connection: Connection, side: Side) {
    this.#connection = connection;
    this.#side = side;
  }

  /** The connection wants to be negotiated. */
  async offer(): Promise<void> {
    this.#makingOffer = true;
    try {
      await this.#connection.setLocalDescription();
    } finally {
      this.#makingOffer = false;
    }
    await this.#sendLocal('offer');
  }

  /** A candidate was gathered. Those that come before the description is sent travel in it. */
  candidate(candidate: RTCIceCandidateInit): void {
    if (this.#gathering) return;
    this.#side.send({ type: 'candidates', n: this.#side.n, candidates: [candidate] });
  }

  /** The other side's description or candidates. Rejects with `bad_signal` when they cannot be used. */
  receive(signal: Extract<Signal, { type: 'description' | 'candidates' }>): Promise<void> {
    const step = this.#queue.then(() => (signal.type === 'description' ? this.#describe(signal) : this.#candidates(signal.candidates)));
    this.#queue = step.catch(() => {});
    return step;
  }

  async #describe({ kind, sdp }: Extract<Signal, { type: 'description' }>): Promise<void> {
    const { signalingState } = this.#connection;
    const readyForOffer = !this.#makingOffer && (signalingState === 'stable' || this.#settingAnswer);
    const collision = kind === 'offer' && !readyForOffer;
    this.#ignoringOffer = !this.#side.polite && collision;
    // An answer to an offer that was taken back answers nothing.
    const stray = kind === 'answer' && signalingState !== 'have-local-offer';
    if (this.#ignoringOffer || stray) return;
    this.#settingAnswer = kind === 'answer';
    try {
      await this.#connection.setRemoteDescription({ type: kind, sdp: keepAllowedCodecs(sdp) });
    } catch (cause) {
      throw badSignal(cause);
    } finally {
      this.#settingAnswer = false;
    }
    if (kind === 'answer') return;
    this.#side.beforeAnswer();
    await this.#connection.setLocalDescription();
    await this.#sendLocal('answer');
  }

  async #candidates(candidates: readonly RTCIceCandidateInit[]): Promise<void> {
    for (const candidate of candidates) {
      try {
        await this.#connection.addIceCandidate(candidate);
      } catch (cause) {
        // Candidates of an offer that was ignored fit nothing here.
        if (!this.#ignoringOffer) throw badSignal(cause);
      }
    }
  }

  async #sendLocal(kind: 'offer' | 'answer'): Promise<void> {
    this.#local += 1;
    const local = this.#local;
    this.#gathering = true;
    const made = this.#connection.localDescription;
    await this.#side.gathered();
    if (local === this.#local) this.#gathering = false;
    const replaced = local !== this.#local;
    // An offer that was replaced is told by the next. An answer is waited for, or the other side ignores all that follows.
    if (replaced && kind === 'offer') return;
    const description = replaced ? made : this.#connection.localDescription;
    if (description?.type !== kind || description.sdp === undefined) return;
    this.#side.send({ type: 'description', n: this.#side.n, kind, sdp: keepAllowedCodecs(description.sdp) });
  }
}

function badSignal(cause: unknown): ConclaveError {
  return cause instanceof ConclaveError ? cause : new ConclaveError('bad_signal', { cause });
}
