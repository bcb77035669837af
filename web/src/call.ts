/** A call that this device is in. */

import { toBase64Url } from './bytes.ts';
import { Emitter } from './emitter.ts';
import { ConclaveError } from './errors.ts';
import type { CallEvents, CoreEvent, Epoch, EpochInfo, KeyMissing, LinkState, Member, PauseReason } from './events.ts';
import { Link, type WorkerLike } from './link.ts';
import { attach } from './media/attachment.ts';
import { makeConnection } from './media/connection.ts';
import { MediaLook } from './media/stats.ts';
import { MemberList } from './members.ts';
import { Protection } from './protection.ts';
import type { Profile, WorkerStats } from './worker/protocol.ts';

/** How far a join has come. */
export type JoinStage =
  /** On the way to the relay. */
  | 'connecting'
  /** The relay gave a seat; the lead has not handed over the key yet. */
  | 'waiting_for_key';

/** Messages of the mesh begin with this line; applications never see them. */
const SIGNAL_PREFIX = new TextEncoder().encode('conclave-mesh/1\n');

/** Between two looks at what became of members' frames. */
const MEDIA_PERIOD = 1000;

/** Connection data that members exchange, sealed like every message: only for what stands in `media/`. */
export interface SignalEvents {
  signal: { readonly from: number; readonly payload: Uint8Array<ArrayBuffer> };
}

/** How a call is begun: {@link Conclave.join} hands this over. */
export interface CallStart {
  readonly worker: WorkerLike;
  /** WebSocket addresses of relays, at least one. */
  readonly urls: readonly string[];
  readonly profile: Profile;
  /** Fetches a fresh token; without it the first one is shown again. */
  readonly renew?: () => Promise<string>;
  /** Told how the join comes along. */
  readonly onProgress?: (stage: JoinStage) => void;
}

/**
 * A call. Made by {@link Conclave.join}, which hands it out once this device holds a key. Everything secret is in the
 * worker behind it. It lasts until this device leaves or is put out: when the connection drops, or the seat is lost, the
 * worker comes back by itself and `link` tells of it.
 */
export class Call extends Emitter<CallEvents & SignalEvents> {
  /** The first key is here; rejects with the reason when the call ended before it was. */
  readonly ready: Promise<void>;
  readonly #worker: Link;
  readonly #members = new MemberList();
  readonly #protection: Protection;
  readonly #onProgress: ((stage: JoinStage) => void) | undefined;
  #settle: { resolve: () => void; reject: (error: ConclaveError) => void } = { resolve() {}, reject() {} };
  #me: number | undefined;
  #lead: number | undefined;
  #epoch: EpochInfo | undefined;
  #active: Epoch | undefined;
  #iceServers: readonly RTCIceServer[] = [];
  #link: LinkState = 'up';
  #keyMissing: KeyMissing | undefined;
  #paused: PauseReason | undefined;
  #ended: ConclaveError | undefined;
  readonly #media = new MediaLook();
  #mediaTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(start: CallStart) {
    super();
    this.ready = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // The reason of a failed join is told by `ended` too; who listens there need not look here.
    this.ready.catch(() => {});
    this.#onProgress = start.onProgress;
    this.#worker = new Link(start.worker, {
      event: (event) => this.#receive(event),
      token: () => start.renew?.().catch(() => undefined) ?? Promise.resolve(undefined),
      failed: (error) => this.#end(error),
    });
    this.#protection = new Protection({
      attach: (end, options) => attach(this.#worker.worker, end, options),
      stats: () => this.#worker.stats(),
      unprotected: (sender, error) => {
        this.emit('unprotected', { sender, error });
        this.emit('error', error);
      },
    });
    this.#onProgress?.('connecting');
    this.#worker.join(start.urls, { ...start.profile, renewable: start.renew !== undefined });
  }

  /** Everybody who is here, this device included, by order number. */
  get members(): readonly Member[] {
    return this.#members.all;
  }

  /** This device, as a member. */
  get me(): Member | undefined {
    return this.#me === undefined ? undefined : this.#members.known(this.#me);
  }

  /** Who leads. */
  get lead(): Member | undefined {
    return this.#lead === undefined ? undefined : this.#members.known(this.#lead);
  }

  /** The newest epoch that this device holds. */
  get epoch(): EpochInfo | undefined {
    return this.#epoch;
  }

  /** The epoch under which this device seals. */
  get active(): Epoch | undefined {
    return this.#active;
  }

  /** Thirty digits in six groups: equal for everybody when nobody is in between. */
  get securityCode(): string | undefined {
    return this.#epoch?.securityCode;
  }

  /** How the own connection is. */
  get link(): LinkState {
    return this.#link;
  }

  /** Why this device lacks the newest epoch, while it does. */
  get keyMissing(): KeyMissing | undefined {
    return this.#keyMissing;
  }

  /** Why this device seals nothing, while it does not. */
  get paused(): PauseReason | undefined {
    return this.#paused;
  }

  /** Why the call is over, once it is. */
  get ended(): ConclaveError | undefined {
    return this.#ended;
  }

  /** Sends an application message, sealed: to one member by order number, or to all. At most 40 KiB. */
  async send(payload: Uint8Array | string, to?: number): Promise<void> {
    const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
    await this.#worker.command({ send: { to: to ?? null, payload: toBase64Url(bytes) } });
  }

  /** Sends connection data, sealed: comes out of the other side's `signal`. */
  async signal(payload: Uint8Array, to?: number): Promise<void> {
    const bytes = new Uint8Array(SIGNAL_PREFIX.length + payload.length);
    bytes.set(SIGNAL_PREFIX);
    bytes.set(payload, SIGNAL_PREFIX.length);
    await this.send(bytes, to);
  }

  /** Has the key replaced: done by the lead, asked of the lead by others. */
  async rotate(): Promise<void> {
    await this.#worker.command({ rotate: {} });
  }

  /** Removes a member. Only the lead can. */
  async remove(joined: number): Promise<void> {
    await this.#worker.command({ remove: { joined } });
  }

  /** Leaves, and says so, signed. The call is over when this returns. */
  async leave(): Promise<void> {
    if (this.#ended) return;
    await this.#worker.command({ leave: {} }).catch(() => {});
    this.#end(new ConclaveError('left'));
  }

  /**
   * Seals everything that this sender sends, for as long as it lives; given a connection, everything that any sender of
   * it sends, also of those to come.
   *
   * On a connection from {@link createPeerConnection} any time will do: what is not protected is not sent. On one that was
   * made elsewhere, call it in the task that made the sender, or with the connection before it has one: later than that a
   * browser may ignore it. Throws `not_protectable` where that can be seen; a watch cuts the sender off where it cannot.
   */
  protect(target: RTCRtpSender | RTCPeerConnection): void {
    this.#throwIfEnded();
    this.#protection.protect(target);
  }

  /**
   * Opens everything that this receiver gets, or every receiver of this connection, as media of this member and of nobody
   * else: a frame that names another member is dropped. For as long as the receiver lives. Same rule as for {@link protect}.
   */
  unprotect(target: RTCRtpReceiver | RTCPeerConnection, member: number): void {
    this.#throwIfEnded();
    const seat = this.#members.seat(member);
    if (seat === undefined) throw new ConclaveError('unknown_member', { member });
    this.#protection.unprotect(target, member, seat);
    if (this.#mediaTimer === undefined) this.#waitForMedia();
  }

  /**
   * A peer connection with the relay's ICE servers that sends nothing unless it is protected, and takes every codec that
   * cannot be protected out of descriptions that come from elsewhere.
   */
  createPeerConnection(config: RTCConfiguration = {}): RTCPeerConnection {
    this.#throwIfEnded();
    return makeConnection({ iceServers: [...this.#iceServers], ...config });
  }

  /** What the worker counted. */
  stats(): Promise<WorkerStats> {
    return this.#worker.stats();
  }

  /** A good moment to look for the relay: ends a pause before the next try. */
  hurry(): void {
    this.#worker.hurry();
  }

  /** Drops out without a word: what an aborted join does. */
  abandon(reason: ConclaveError): void {
    this.#end(reason);
  }

  #receive(event: CoreEvent): void {
    switch (event.type) {
      case 'seated':
        this.#seated(event);
        break;
      case 'link':
        this.#linked(event.state);
        break;
      case 'key_missing':
      case 'key_found':
      case 'paused':
      case 'resumed':
        this.#secured(event);
        break;
      case 'member_arrived':
      case 'member_left':
      case 'member_away':
      case 'member_back':
      case 'member_confirmed':
        this.#present(event);
        break;
      case 'lead_changed':
        this.#lead = event.joined;
        this.emit('lead', { term: event.term, member: event.joined, me: event.me });
        break;
      case 'epoch':
        this.#advance(event);
        break;
      case 'active':
        this.#active = event.epoch;
        this.emit('active', event.epoch);
        break;
      case 'message':
        this.#message(event);
        break;
      case 'security':
        this.emit('security', { kind: event.kind, message: event.message });
        break;
      case 'refused':
      case 'protocol_error':
      case 'command_failed':
        this.emit('error', event.error);
        break;
      case 'closing':
        this.emit('closing', event.after);
        break;
      case 'ended':
        this.#end(event.error);
        break;
      case 'member_present':
      case 'unknown':
        break;
    }
  }

  #seated(event: Extract<CoreEvent, { type: 'seated' }>): void {
    // Order numbers of another join may name other people.
    this.#members.restart(event.joined);
    this.#me = event.joined;
    this.#iceServers = event.ice_servers;
    for (const member of event.members) this.#members.arrived(member);
    this.#onProgress?.('waiting_for_key');
    if (this.#link !== 'up') this.#linked('up');
    this.emit('members', this.members);
  }

  #present(event: Extract<CoreEvent, { type: 'member_arrived' | 'member_left' | 'member_away' | 'member_back' | 'member_confirmed' }>): void {
    switch (event.type) {
      case 'member_arrived':
        this.#members.arrived(event);
        break;
      case 'member_left':
        this.#members.left(event.joined);
        this.emit('left', { member: event.joined, reason: event.reason });
        break;
      case 'member_away':
        this.#members.away(event.joined, event.reason);
        this.emit('away', { member: event.joined, reason: event.reason });
        break;
      case 'member_back':
        this.#members.away(event.joined, undefined);
        this.emit('back', event.joined);
        break;
      case 'member_confirmed':
        this.#members.confirm(event.joined);
        this.emit('confirmed', event.joined);
        break;
    }
    this.emit('members', this.members);
  }

  #linked(state: LinkState): void {
    this.#link = state;
    if (state === 'rejoining') {
      this.#active = undefined;
      this.#keyMissing = undefined;
      this.#paused = undefined;
    }
    this.emit('link', state);
  }

  /** Whether this device holds the newest key, and whether it seals. */
  #secured(event: Extract<CoreEvent, { type: 'key_missing' | 'key_found' | 'paused' | 'resumed' }>): void {
    switch (event.type) {
      case 'key_missing':
        this.#keyMissing = event.reason;
        this.emit('key_missing', event.reason);
        break;
      case 'key_found':
        this.#keyMissing = undefined;
        this.emit('key_found', undefined);
        break;
      case 'paused':
        this.#paused = event.reason;
        this.emit('paused', event.reason);
        break;
      case 'resumed':
        this.#paused = undefined;
        this.emit('resumed', undefined);
        break;
    }
  }

  #advance(event: Extract<CoreEvent, { type: 'epoch' }>): void {
    const { epoch, cause, lead, roster, fingerprint, security_code: securityCode } = event;
    this.#lead = lead;
    const change = this.#members.commit(event.members);
    this.#epoch = { epoch, cause, lead, roster, fingerprint, securityCode, ...change };
    this.emit('epoch', this.#epoch);
    this.emit('members', this.members);
    this.#settle.resolve();
  }

  #message(event: Extract<CoreEvent, { type: 'message' }>): void {
    const { from, direct, payload } = event;
    const isSignal = SIGNAL_PREFIX.every((byte, i) => payload[i] === byte);
    if (isSignal) this.emit('signal', { from, payload: payload.slice(SIGNAL_PREFIX.length) });
    else this.emit('message', { from, direct, payload });
  }

  /** A pause after each look, so that two are never closer than that. */
  #waitForMedia(): void {
    this.#mediaTimer = setTimeout(() => void this.#lookAtMedia(), MEDIA_PERIOD);
  }

  async #lookAtMedia(): Promise<void> {
    // Without an answer the worker is gone, which the link tells, or busy, and the next look will do.
    const stats = await this.#worker.stats().catch(() => undefined);
    if (this.#ended) return;
    const seats = new Map(this.members.map(({ joined, seat }) => [joined, seat]));
    for (const changed of stats ? this.#media.changes(performance.now(), stats, seats) : []) this.emit('media_stats', changed);
    this.#waitForMedia();
  }

  #end(reason: ConclaveError): void {
    if (this.#ended) return;
    this.#ended = reason;
    clearTimeout(this.#mediaTimer);
    this.#protection.stop();
    this.#worker.close(reason);
    this.#settle.reject(reason);
    this.emit('ended', reason);
    this.silence();
  }

  #throwIfEnded(): void {
    if (this.#ended) throw this.#ended;
  }
}
