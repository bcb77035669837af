/**
 * Calls from browser to browser: one connection to each member that has a mesh too. The member that came first makes
 * the connection, once the other has said hello; all that they say to each other goes through the call, sealed.
 */

import type { Call } from '../call.ts';
import { Emitter } from '../emitter.ts';
import { ConclaveError } from '../errors.ts';
import type { LinkState } from '../events.ts';
import type { Kind, VideoCodec } from './codecs.ts';
import { Mailbox } from './mailbox.ts';
import { Peer, type PeerView } from './peer.ts';
import { decodeSignals, type Sends, type Signal } from './signals.ts';

/** What a mesh begins with. */
export interface MeshOptions {
  /** Its first audio and first video track are sent. */
  readonly stream?: MediaStream | null;
  /** The codecs in which this device likes to be sent pictures, best first; the others follow. @default VP8, VP9, AV1, H.264 */
  readonly codecs?: readonly VideoCodec[];
}

/** Everything that {@link Mesh.on} can listen to. */
export interface MeshEvents {
  /** A connection is new or changed. */
  peer: PeerView;
  /** The connection to this member is gone, with the member. */
  gone: number;
  /** How the connection to a media server is, where there is one: without it nobody sees or hears anybody. */
  server: 'connected' | 'interrupted';
  error: ConclaveError;
}

/** Connections at once: every one of them costs an encoder's output on the way up. */
const PEERS = 32;
/** How often a connection that failed is made anew. */
const REBUILDS = 3;
/** How often a member may ask for that in a row: a connection costs more to make than to ask for. */
const RENEWALS = 8;
/** After so long a second hello goes to those who have not answered: they may not have held the key yet. */
const SECOND_HELLO = 3000;

interface Entry {
  peer: Peer | undefined;
  sends: Sends;
  /** Since it was connected last: made anew by this side, and at the wish of the other. */
  rebuilds: number;
  renewals: number;
}

/** The mesh of one call. */
export class Mesh extends Emitter<MeshEvents> {
  readonly #call: Call;
  readonly #codecs: readonly VideoCodec[];
  readonly #tracks: Record<Kind, MediaStreamTrack | null>;
  readonly #entries = new Map<number, Entry>();
  readonly #mailbox: Mailbox;
  readonly #unsubscribe: (() => void)[];
  #secondHello: ReturnType<typeof setTimeout> | undefined;
  #started = false;
  #closed = false;

  constructor(call: Call, options: MeshOptions = {}) {
    super();
    this.#call = call;
    this.#codecs = options.codecs ?? [];
    this.#mailbox = new Mailbox(call, (error) => this.emit('error', error));
    this.#tracks = {
      audio: options.stream?.getAudioTracks()[0] ?? null,
      video: options.stream?.getVideoTracks()[0] ?? null,
    };
    this.#unsubscribe = [
      call.on('signal', ({ from, payload }) => this.#receive(from, payload)),
      call.on('left', ({ member }) => this.#remove(member)),
      call.on('epoch', ({ removed }) => removed.forEach(({ joined }) => this.#remove(joined))),
      call.on('active', () => this.#start()),
      call.on('unprotected', ({ sender }) => this.#giveUp(sender)),
      call.on('link', (state) => this.#linked(state)),
      call.on('ended', () => this.close()),
    ];
    if (call.active) this.#start();
  }

  /** All connections, by order number of the member. */
  get peers(): ReadonlyMap<number, PeerView> {
    return new Map([...this.#entries].flatMap(([joined, entry]) => (entry.peer ? [[joined, view(entry, entry.peer)]] : [])));
  }

  /** Sends another track to everybody from here on; `null` sends nothing, and says so. */
  setTrack(kind: Kind, track: MediaStreamTrack | null): void {
    this.#tracks[kind] = track;
    for (const { peer } of this.#entries.values()) peer?.setTrack(kind, track);
    if (this.#started && this.#entries.size > 0) this.#mailbox.send('all', { type: 'sends', sends: this.#sends() }, true);
  }

  /** What WebRTC counted on the connection to a member. */
  async getStats(joined: number): Promise<RTCStatsReport | undefined> {
    return this.#entries.get(joined)?.peer?.getStats();
  }

  /** Closes every connection. The tracks stay with who made them. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#mailbox.close();
    clearTimeout(this.#secondHello);
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    for (const joined of this.#entries.keys()) this.#remove(joined);
    this.silence();
  }

  /**
   * Media does not need the relay: while the link is down, connections are left as they are. A device that joins again
   * has another order number, so that it is somebody new to all others, and they to it.
   */
  #linked(state: LinkState): void {
    if (state === 'up') {
      for (const [joined, { peer }] of this.#entries) if (peer?.state === 'failed') this.#rebuild(joined, peer);
    } else if (state === 'rejoining') {
      clearTimeout(this.#secondHello);
      for (const joined of this.#entries.keys()) this.#remove(joined);
      this.#started = false;
    }
  }

  /** Says hello, once this device seals under an epoch that all others hold. */
  #start(): void {
    if (this.#started) return;
    this.#started = true;
    const hello = (): void => this.#mailbox.send('all', { type: 'hello', sends: this.#sends() }, true);
    hello();
    this.#secondHello = setTimeout(() => {
      const silent = this.#call.members.some(({ joined, role }) => role !== 'lead_bot' && !this.#isKnown(joined));
      if (silent) hello();
    }, SECOND_HELLO);
  }

  #isKnown(joined: number): boolean {
    return joined === this.#call.me?.joined || this.#entries.has(joined);
  }

  #receive(from: number, payload: Uint8Array): void {
    try {
      for (const signal of decodeSignals(payload, from)) this.#take(from, signal);
    } catch (error) {
      this.emit('error', error instanceof ConclaveError ? error : new ConclaveError('bad_signal', { member: from }));
    }
  }

  #take(from: number, signal: Signal): void {
    // Somebody who left may still be heard for a moment.
    if (!this.#call.members.some(({ joined }) => joined === from)) return;
    switch (signal.type) {
      case 'hello':
        this.#hello(from, signal.sends, signal.again ?? false);
        break;
      case 'sends':
        this.#setSends(from, signal.sends);
        break;
      case 'description':
        if (signal.kind === 'offer') this.#renew(from, signal.n);
        this.#toPeer(from, signal);
        break;
      case 'candidates':
        this.#toPeer(from, signal);
        break;
    }
  }

  #hello(from: number, sends: Sends, again: boolean): void {
    const known = this.#entries.get(from);
    this.#setSends(from, sends);
    if (!this.#initiates(from)) {
      // The other came first and has only now a mesh: it needs to hear of this one.
      if (!known) this.#mailbox.send(from, { type: 'hello', sends: this.#sends() }, true);
    } else if (!known?.peer) {
      this.#connect(from, 0);
    } else if (again && this.#mayRenew(known)) {
      this.#connect(from, known.peer.n + 1);
    }
  }

  #setSends(from: number, sends: Sends): void {
    const entry = this.#entries.get(from);
    if (entry) {
      entry.sends = sends;
      this.#changed(entry);
    } else if (this.#entries.size < PEERS) {
      this.#entries.set(from, { peer: undefined, sends, rebuilds: 0, renewals: 0 });
    }
  }

  /** An offer with a higher number begins a new connection. Only who came first may number them. */
  #renew(from: number, n: number): void {
    if (this.#initiates(from)) return;
    const entry = this.#entries.get(from);
    if (!entry) this.#setSends(from, { audio: false, video: false });
    if (!entry?.peer || (n > entry.peer.n && this.#mayRenew(entry))) this.#connect(from, n);
  }

  #mayRenew(entry: Entry): boolean {
    entry.renewals += 1;
    return entry.renewals <= RENEWALS;
  }

  #toPeer(from: number, signal: Extract<Signal, { type: 'description' | 'candidates' }>): void {
    const peer = this.#entries.get(from)?.peer;
    if (peer?.n === signal.n) void peer.receive(signal);
  }

  #connect(joined: number, n: number): void {
    const entry = this.#entries.get(joined);
    if (!entry) return;
    entry.peer?.close();
    const peer = new Peer({
      call: this.#call,
      joined,
      n,
      initiator: this.#initiates(joined),
      tracks: this.#tracks,
      codecs: this.#codecs,
      send: (signal) => this.#mailbox.send(joined, signal, signal.type === 'description'),
      changed: () => this.#follow(joined, peer),
      error: (error) => this.emit('error', error),
    });
    entry.peer = peer;
    this.#mailbox.send(joined, { type: 'sends', sends: this.#sends() }, false);
    this.#changed(entry);
  }

  #follow(joined: number, peer: Peer): void {
    const entry = this.#entries.get(joined);
    if (!entry || entry.peer !== peer) return;
    this.#changed(entry);
    if (peer.state === 'connected') entry.rebuilds = entry.renewals = 0;
    // What makes a new connection goes through the call.
    if (peer.state === 'failed' && this.#call.link === 'up') this.#rebuild(joined, peer);
  }

  #rebuild(joined: number, peer: Peer): void {
    const entry = this.#entries.get(joined);
    if (!entry) return;
    entry.rebuilds += 1;
    if (entry.rebuilds > REBUILDS) this.emit('error', new ConclaveError('connection_failed', { member: joined }));
    else if (this.#initiates(joined)) this.#connect(joined, peer.n + 1);
    else this.#mailbox.send(joined, { type: 'hello', sends: this.#sends(), again: true }, true);
  }

  /** Media went past the worker: this connection is not made again. */
  #giveUp(sender: RTCRtpSender): void {
    const entry = [...this.#entries.values()].find(({ peer }) => peer?.owns(sender));
    if (!entry) return;
    entry.rebuilds = REBUILDS;
    entry.peer?.fail();
  }

  #remove(joined: number): void {
    const entry = this.#entries.get(joined);
    if (!entry) return;
    this.#entries.delete(joined);
    this.#mailbox.drop(joined);
    entry.peer?.close();
    this.emit('gone', joined);
  }

  #changed(entry: Entry): void {
    if (entry.peer) this.emit('peer', view(entry, entry.peer));
  }

  #initiates(joined: number): boolean {
    return (this.#call.me?.joined ?? Number.POSITIVE_INFINITY) < joined;
  }

  #sends(): Sends {
    return { audio: this.#tracks.audio !== null, video: this.#tracks.video !== null };
  }
}

function view(entry: Entry, peer: Peer): PeerView {
  return { joined: peer.joined, state: peer.state, stream: peer.stream, sends: entry.sends };
}
