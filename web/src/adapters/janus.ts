/**
 * Calls through a videoroom of a Janus server: each device sends once, the server forwards. Every frame is sealed by the call,
 * so the server sees sizes and times and the bytes that a packetizer needs, and no picture.
 *
 * Which feed belongs to whom is the server's word, and only a claim: a feed is opened as media of the member that it names,
 * and a frame that was sealed by anybody else is dropped.
 */

import type { Call } from '../call.ts';
import { Emitter } from '../emitter.ts';
import { ConclaveError } from '../errors.ts';
import type { LinkState } from '../events.ts';
import type { Kind, VideoCodec } from '../media/codecs.ts';
import { Mailbox } from '../media/mailbox.ts';
import type { MeshEvents } from '../media/mesh.ts';
import type { PeerState, PeerView } from '../media/peer.ts';
import { decodeSignals, type Sends } from '../media/signals.ts';
import { Feed, type Layer, type RoomId } from './janus_feed.ts';
import { JanusSession, type JanusSocket, type PluginAnswer } from './janus_session.ts';
import { Publisher } from './janus_publisher.ts';

/** What a room begins with. */
export interface JanusOptions {
  /** The server's WebSocket address. */
  readonly url: string;
  /** The room: the same for everybody in the call, and for nobody else. {@link roomOf} makes one of a call's name. */
  readonly room: RoomId;
  /** Makes the room if it is not there, for encrypted media only. @default false */
  readonly create?: boolean;
  /** Its first audio and first video track are sent. */
  readonly stream?: MediaStream | null;
  /** The codecs in which pictures are sent, best first, if the room takes them. @default VP8, VP9, AV1, H.264 */
  readonly codecs?: readonly VideoCodec[];
  /** Sends three sizes of the picture, of which each receiver gets one. @default false */
  readonly simulcast?: boolean;
  /** Makes the socket. @default the browser's */
  readonly connect?: (url: string) => JanusSocket;
}

/** Feeds at once. */
const FEEDS = 128;
/** How often a feed that failed is asked for again. */
const RETRIES = 3;
/** Pauses before the room is joined again, in milliseconds: each twice the one before. */
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15_000;
/** Says in a publisher's display name which member it is. */
const DISPLAY = /^conclave (\d{1,15})$/;
/** The room is not there. */
const NO_SUCH_ROOM = 426;
/** A room that somebody else has made in the same moment. */
const ROOM_EXISTS = 427;

interface Known {
  readonly feed: RoomId;
  readonly member: number;
}

interface Entry {
  readonly feed: Feed;
  retries: number;
}

/** One call's media through one room. The same surface as a {@link Mesh}. */
export class JanusRoom extends Emitter<MeshEvents> {
  readonly #call: Call;
  readonly #options: JanusOptions;
  readonly #tracks: Record<Kind, MediaStreamTrack | null>;
  readonly #mailbox: Mailbox;
  readonly #unsubscribe: (() => void)[];
  /** Publishers in the room that name a member, by their number. */
  readonly #publishers = new Map<RoomId, Known>();
  readonly #entries = new Map<number, Entry>();
  readonly #sends = new Map<number, Sends>();
  #session: JanusSession | undefined;
  #publisher: Publisher | undefined;
  #running = false;
  #closed = false;
  #pause = FIRST_PAUSE;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts attempts: what an earlier one still has under way is of no interest. */
  #attempt = 0;

  constructor(call: Call, options: JanusOptions) {
    super();
    this.#call = call;
    this.#options = options;
    this.#mailbox = new Mailbox(call, (error) => this.emit('error', error));
    this.#tracks = { audio: options.stream?.getAudioTracks()[0] ?? null, video: options.stream?.getVideoTracks()[0] ?? null };
    this.#unsubscribe = [
      call.on('signal', ({ from, payload }) => this.#signal(from, payload)),
      call.on('members', () => this.#look()),
      call.on('epoch', ({ added }) => this.#greet(added.map(({ joined }) => joined))),
      call.on('active', () => this.#start()),
      call.on('unprotected', ({ sender }) => {
        if (this.#publisher?.owns(sender)) this.close();
      }),
      call.on('link', (state) => this.#linked(state)),
      call.on('ended', () => this.close()),
    ];
    if (call.active) this.#start();
  }

  /** Everybody who sends into the room, by order number. */
  get peers(): ReadonlyMap<number, PeerView> {
    return new Map([...this.#entries.values()].map(({ feed }) => [feed.member, this.#view(feed)]));
  }

  /** How the own connection to the room is. */
  get state(): PeerState {
    return this.#publisher?.state ?? 'connecting';
  }

  /** Sends another track from here on; `null` sends nothing, and says so. */
  setTrack(kind: Kind, track: MediaStreamTrack | null): void {
    this.#tracks[kind] = track;
    this.#publisher?.setTrack(kind, track);
    if (this.#running) this.#tell('all');
  }

  /** Asks the server for a smaller or larger picture of a member that sends several sizes. */
  async setLayer(member: number, layer: Layer): Promise<void> {
    await this.#entries.get(member)?.feed.setLayer(layer);
  }

  /** What WebRTC counted on the way from a member. */
  async getStats(member: number): Promise<RTCStatsReport | undefined> {
    return this.#entries.get(member)?.feed.getStats();
  }

  /** Leaves the room. The tracks stay with who made them. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#mailbox.close();
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#stop();
    this.silence();
  }

  #linked(state: LinkState): void {
    // Another join has another order number, under which this device comes into the room anew.
    if (state !== 'rejoining') return;
    this.#stop();
    this.#sends.clear();
  }

  #start(): void {
    if (this.#running || this.#closed) return;
    this.#running = true;
    this.#tell('all');
    void this.#enter();
  }

  async #enter(): Promise<void> {
    this.#attempt += 1;
    const attempt = this.#attempt;
    const isCurrent = (): boolean => this.#running && attempt === this.#attempt;
    const lost = (): void => {
      if (isCurrent()) this.#lost(new ConclaveError('media_server', { message: 'The connection to the media server is gone.' }));
    };
    const { url, connect = browserSocket } = this.#options;
    let session: JanusSession | undefined;
    try {
      session = await JanusSession.open(connect(url), lost);
      if (!isCurrent()) return session.close();
      this.#session = session;
      const joined = this.#call.me?.joined ?? -1;
      const handle = await session.attach({ event: (answer) => isCurrent() && this.#news(answer), hangup: lost });
      const answer = await this.#join(handle.request, `conclave ${joined}`);
      if (!isCurrent()) return;
      this.#publisher = new Publisher({ call: this.#call, handle, tracks: this.#tracks, codecs: this.#options.codecs ?? [], simulcast: this.#options.simulcast ?? false, lost });
      await this.#publisher.publish();
      this.#pause = FIRST_PAUSE;
      this.emit('server', 'connected');
      this.#news(answer);
    } catch (error) {
      if (isCurrent()) this.#lost(error instanceof ConclaveError ? error : new ConclaveError('media_server', { cause: error }));
      else session?.close();
    }
  }

  async #join(request: (body: object) => Promise<PluginAnswer>, display: string): Promise<PluginAnswer> {
    const { room, create = false } = this.#options;
    const join = { request: 'join', ptype: 'publisher', room, display };
    try {
      return await request(join);
    } catch (error) {
      if (!create || !hasNumber(error, NO_SUCH_ROOM)) throw error;
      await request(roomRequest(room)).catch((refused: unknown) => {
        if (!hasNumber(refused, ROOM_EXISTS)) throw refused;
      });
      return request(join);
    }
  }

  /** Everything is gone; it is made anew after a pause. */
  #lost(error: ConclaveError): void {
    this.emit('server', 'interrupted');
    this.emit('error', error);
    const pause = this.#pause;
    this.#stop();
    this.#running = true;
    this.#pause = Math.min(pause * 2, LONGEST_PAUSE);
    this.#timer = setTimeout(() => void this.#enter(), pause);
  }

  #stop(): void {
    this.#running = false;
    this.#pause = FIRST_PAUSE;
    clearTimeout(this.#timer);
    for (const member of this.#entries.keys()) this.#remove(member);
    this.#publishers.clear();
    this.#publisher?.close();
    this.#session?.close();
    this.#publisher = this.#session = undefined;
  }

  /** Who publishes in the room, and who does not any more. */
  #news({ data }: PluginAnswer): void {
    const { publishers, leaving, unpublished } = data;
    for (const { id, display } of Array.isArray(publishers) ? (publishers as { id?: unknown; display?: unknown }[]) : []) {
      const member = Number(DISPLAY.exec(String(display))?.[1] ?? Number.NaN);
      if (!isRoomId(id) || !Number.isSafeInteger(member) || this.#publishers.size >= FEEDS) continue;
      // A publisher that comes again goes behind those that were there: the newest of a member is asked for.
      this.#publishers.delete(id);
      this.#publishers.set(id, { feed: id, member });
    }
    for (const gone of [leaving, unpublished]) if (isRoomId(gone)) this.#publishers.delete(gone);
    this.#look();
  }

  /** Holds what is in the room against who is in the call: one feed for each member that has one. */
  #look(): void {
    if (!this.#session) return;
    const wanted = new Map([...this.#publishers.values()].filter(({ member }) => this.#isMember(member)).map((known) => [known.member, known.feed]));
    for (const [member, { feed }] of this.#entries) if (wanted.get(member) !== feed.feed) this.#remove(member);
    for (const [member, feed] of wanted) if (!this.#entries.has(member)) this.#subscribe(member, feed, 0);
  }

  #isMember(member: number): boolean {
    return member !== this.#call.me?.joined && this.#call.members.some(({ joined, committed }) => joined === member && committed);
  }

  #subscribe(member: number, id: RoomId, retries: number): void {
    const session = this.#session;
    if (!session) return;
    const feed: Feed = new Feed({ call: this.#call, session, room: this.#options.room, feed: id, member, changed: () => this.#follow(feed) });
    this.#entries.set(member, { feed, retries });
    this.emit('peer', this.#view(feed));
  }

  #follow(feed: Feed): void {
    const entry = this.#entries.get(feed.member);
    if (entry?.feed !== feed) return;
    this.emit('peer', this.#view(feed));
    if (feed.state === 'connected') entry.retries = 0;
    if (feed.state !== 'failed') return;
    if (entry.retries < RETRIES) this.#subscribe(feed.member, feed.feed, entry.retries + 1);
    else this.emit('error', new ConclaveError('connection_failed', { member: feed.member }));
  }

  #remove(member: number): void {
    const entry = this.#entries.get(member);
    if (!entry) return;
    this.#entries.delete(member);
    entry.feed.close();
    this.emit('gone', member);
  }

  /** What members show is said through the call, as in a mesh: the server has no business with it. */
  #tell(to: number | 'all'): void {
    const sends = { audio: this.#tracks.audio !== null, video: this.#tracks.video !== null };
    this.#mailbox.send(to, { type: 'sends', sends }, to === 'all');
  }

  #greet(added: readonly number[]): void {
    if (!this.#running) return;
    for (const joined of added) if (joined !== this.#call.me?.joined) this.#tell(joined);
  }

  #signal(from: number, payload: Uint8Array): void {
    let signals;
    try {
      signals = decodeSignals(payload, from);
    } catch (error) {
      return this.emit('error', error instanceof ConclaveError ? error : new ConclaveError('bad_signal', { member: from }));
    }
    if (!this.#isMember(from)) return;
    for (const signal of signals) if (signal.type === 'sends' || signal.type === 'hello') this.#sends.set(from, signal.sends);
    const entry = this.#entries.get(from);
    if (entry) this.emit('peer', this.#view(entry.feed));
  }

  #view({ member, state, stream }: Feed): PeerView {
    // Nobody is taken for silent who has only not been heard of yet.
    return { joined: member, state, stream, sends: this.#sends.get(member) ?? { audio: true, video: true } };
  }
}

/** A room number for a call: 48 bits of the hash of its name, which is all that the server learns of it. */
export async function roomOf(call: string): Promise<number> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`conclave room ${call}`)));
  return hash.slice(0, 6).reduce((number, byte) => number * 256 + byte, 0);
}

/** A room that takes encrypted media only. */
function roomRequest(room: RoomId): object {
  return {
    request: 'create',
    room,
    description: 'Conclave',
    is_private: true,
    publishers: FEEDS,
    bitrate: 2_000_000,
    fir_freq: 0,
    audiocodec: 'opus',
    videocodec: 'vp8,vp9,av1,h264',
    require_e2ee: true,
  };
}

function browserSocket(url: string): JanusSocket {
  return new WebSocket(url, 'janus-protocol');
}

function isRoomId(value: unknown): value is RoomId {
  return typeof value === 'number' || (typeof value === 'string' && value !== 'ok');
}

function hasNumber(error: unknown, number: number): boolean {
  return error instanceof ConclaveError && error.cause === number;
}
