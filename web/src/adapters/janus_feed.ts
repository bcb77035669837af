/** One member's media as it comes from the room: a connection of its own, so that a receiver belongs to one member for life. */

import type { Call } from '../call.ts';
import { gathered } from '../media/gathering.ts';
import type { PeerState } from '../media/peer.ts';
import type { Handle, JanusSession, PluginAnswer } from './janus_session.ts';

/** A number or a text, as the server is set up. */
export type RoomId = number | string;

/** One of a publisher's simulcast layers: 0 is the smallest, 2 the largest. */
export type Layer = 0 | 1 | 2;

/** What a feed needs, and whom it tells. */
export interface FeedOptions {
  readonly call: Call;
  readonly session: JanusSession;
  readonly room: RoomId;
  /** The publisher's number in the room. */
  readonly feed: RoomId;
  /** Whose media this is to be: the member's order number. Frames of anybody else are dropped. */
  readonly member: number;
  changed(): void;
}

/** A connection that is not there after so long is given up. */
const CONNECT_TIME = 10_000;

/** How often a layer is asked for, and after how long again. */
const LAYER_TRIES = 8;
const LAYER_PAUSE = 1000;

/** One subscription. */
export class Feed {
  readonly member: number;
  readonly stream = new MediaStream();
  readonly #options: FeedOptions;
  readonly #connection: RTCPeerConnection;
  #handle: Handle | undefined;
  #state: PeerState = 'connecting';
  #video: string | undefined;
  /** The layer that was asked for and has not begun. */
  #wanted: Layer | undefined;
  #layerTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.member = options.member;
    this.#connection = options.call.createPeerConnection({ bundlePolicy: 'max-bundle' });
    options.call.unprotect(this.#connection, options.member);
    this.#connection.ontrack = ({ track }) => this.stream.addTrack(track);
    this.#connection.onconnectionstatechange = () => this.#follow();
    this.#timer = setTimeout(() => this.#fail(), CONNECT_TIME);
    void this.#start();
  }

  get state(): PeerState {
    return this.#state;
  }

  /** The publisher's number in the room. */
  get feed(): RoomId {
    return this.#options.feed;
  }

  /** Asks for another simulcast layer of the picture, until it comes or has been asked for often enough. */
  setLayer(layer: Layer): Promise<void> {
    clearTimeout(this.#layerTimer);
    this.#wanted = layer;
    return this.#askForLayer(layer, LAYER_TRIES);
  }

  /** What WebRTC counted. */
  getStats(): Promise<RTCStatsReport> {
    return this.#connection.getStats();
  }

  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#layerTimer);
    this.#handle?.detach();
    this.#handle = undefined;
    this.#connection.close();
  }

  async #start(): Promise<void> {
    const { session, room, feed } = this.#options;
    try {
      const handle = await session.attach({ event: (answer) => void this.#event(answer), hangup: () => this.#fail() });
      if (this.#connection.signalingState === 'closed') return handle.detach();
      this.#handle = handle;
      await this.#answer(await handle.request({ request: 'join', ptype: 'subscriber', room, streams: [{ feed }] }));
    } catch {
      this.#fail();
    }
  }

  /** A layer begins with a key frame; a browser that has just made one leaves the server's wish for another unheard. */
  async #askForLayer(layer: Layer, tries: number): Promise<void> {
    if (this.#video === undefined || tries === 0) return;
    this.#layerTimer = setTimeout(() => {
      // Refused or not: it is asked for again, or was the last time.
      if (this.#wanted === layer) this.#askForLayer(layer, tries - 1).catch(() => {});
    }, LAYER_PAUSE);
    await this.#handle?.request({ request: 'configure', streams: [{ mid: this.#video, substream: layer }] });
  }

  /** The publisher changed what it sends, and the server offers anew; or another layer has begun. */
  async #event(answer: PluginAnswer): Promise<void> {
    if (answer.data['substream'] === this.#wanted) this.#wanted = undefined;
    try {
      await this.#answer(answer);
    } catch {
      this.#fail();
    }
  }

  async #answer({ data, jsep }: PluginAnswer): Promise<void> {
    this.#video = videoMid(data) ?? this.#video;
    if (jsep?.type !== 'offer') return;
    await this.#connection.setRemoteDescription(jsep);
    await this.#connection.setLocalDescription();
    await gathered(this.#connection);
    const { localDescription } = this.#connection;
    if (localDescription) await this.#handle?.request({ request: 'start' }, sealed(localDescription));
  }

  #follow(): void {
    const { connectionState } = this.#connection;
    if (connectionState === 'connected') {
      clearTimeout(this.#timer);
      this.#become('connected');
    } else if (connectionState === 'disconnected') {
      this.#become('interrupted');
    } else if (connectionState === 'failed') {
      this.#fail();
    }
  }

  #fail(): void {
    if (this.#state === 'failed') return;
    this.close();
    this.#become('failed');
  }

  #become(state: PeerState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.changed();
  }
}

/** A description that says that its frames are encrypted: a room may take no others. */
export function sealed({ type, sdp }: RTCSessionDescription): RTCSessionDescriptionInit & { e2ee: true } {
  return { type, sdp, e2ee: true };
}

function videoMid(data: Readonly<Record<string, unknown>>): string | undefined {
  const streams: unknown = data['streams'];
  if (!Array.isArray(streams)) return undefined;
  const video = (streams as readonly { type?: unknown; mid?: unknown }[]).find(({ type }) => type === 'video');
  return typeof video?.mid === 'string' ? video.mid : undefined;
}
