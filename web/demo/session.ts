/** The state of the page, from the lobby through the call to whatever ended it. Components read it and redraw. */

import {
  Conclave,
  ConclaveError,
  JanusRoom,
  Mesh,
  roomOf,
  unsupported,
  type Call,
  type EpochInfo,
  type JoinStage,
  type LinkState,
  type Member,
  type PeerView,
} from '../src/index.ts';
import { developmentToken, readAddress } from './address.ts';
import { LocalMedia } from './local_media.ts';
import { Notices } from './notices.ts';
import { presenceOf, Unconfirmed, type Presence } from './presence.ts';
import { keyChange, leads, problemOf, type Problem } from './words.ts';

/** Who joins what. */
export interface Entry {
  readonly call: string;
  readonly user: string;
  /** Empty: the relay is asked for one, which it gives in development mode only. */
  readonly token: string;
}

/** One mark of the strip. */
export interface KeyChange {
  readonly info: EpochInfo;
  readonly text: string;
  readonly at: Date;
}

/** Somebody in the call, ready to be shown. */
export interface Person {
  readonly member: Member;
  readonly isMe: boolean;
  readonly leads: boolean;
  /** Their connection to the relay is gone, and was for long enough to be told. */
  readonly away: boolean;
  /** They hold the key by the lead's word, and have not shown themselves for long enough to be told. */
  readonly unconfirmed: boolean;
  readonly peer: PeerView | undefined;
  readonly presence: Presence;
  /** Frames opened, frames that did not open under the key they name, and frames whose key did not come in time. */
  readonly opened: number;
  readonly undecryptable: number;
  readonly keyless: number;
}

/** Where the page is. */
export type Stage = 'lobby' | 'joining' | 'call' | 'over';

/** Marks kept for the strip: an hour of a lively call. */
const KEY_CHANGES = 240;
/** Who is away for less than this is not said to be. */
const AWAY_TIME = 1000;
/** How often people's states are looked at. */
const LOOK_PERIOD = 1000;

/** The page's model. */
export class Session {
  readonly media = new LocalMedia((kind, track) => {
    this.#mesh?.setTrack(kind, track);
    this.#redraw();
  });
  stage: Stage = unsupported() ? 'over' : 'lobby';
  joinStage: JoinStage = 'connecting';
  problem: Problem | undefined;
  /** The relay's or a member's misbehaviour: stays until it is dismissed. */
  warning: string | undefined;
  /** The person does not want to hear of a media server any more. */
  suggestionDismissed = false;
  keyChanges: readonly KeyChange[] = [];
  people: readonly Person[] = [];
  /** What goes on with the call. */
  readonly notices = new Notices(() => this.#redraw());
  entry: Entry = { call: '', user: '', token: '' };
  #call: Call | undefined;
  /** The way that pictures go: from browser to browser, or through a media server. */
  #mesh: Mesh | JanusRoom | undefined;
  #abort: AbortController | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #opened = new Map<number, number>();
  readonly #firstSeen = new Map<number, number>();
  readonly #awaySince = new Map<number, number>();
  readonly #unconfirmed = new Unconfirmed();
  readonly #listeners = new Set<() => void>();

  constructor() {
    this.media.small = readAddress(location.href).small;
    const reason = unsupported();
    if (reason) this.problem = problemOf(reason);
  }

  /** Calls back whenever something changed. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get call(): Call | undefined {
    return this.#call;
  }

  /** Starts camera and microphone for the preview. */
  async preview(): Promise<void> {
    const started = this.media.start();
    this.#redraw();
    await started;
    this.#redraw();
  }

  /** Turns camera or microphone on or off. */
  async toggle(kind: 'audio' | 'video'): Promise<void> {
    const toggled = this.media.toggle(kind);
    this.#redraw();
    await toggled;
    this.#redraw();
  }

  /** A small picture or a large one: starts the camera anew if it is on. */
  async setSmall(small: boolean): Promise<void> {
    this.media.small = small;
    this.#redraw();
    if (!this.media.isOn('video')) return;
    await this.toggle('video');
    await this.toggle('video');
  }

  /** Joins, and comes back here with a problem when that fails. */
  async join(entry: Entry): Promise<void> {
    this.entry = entry;
    this.#set('joining');
    this.#abort = new AbortController();
    try {
      const makeMedia = await mediaMaker(entry.call, this.media.stream);
      const call = await Conclave.join({
        url: location.origin,
        call: entry.call,
        user: entry.user,
        token: entry.token || (() => developmentToken(entry.call, entry.user)),
        signal: this.#abort.signal,
        onProgress: (stage) => {
          this.joinStage = stage;
          this.#redraw();
        },
      });
      this.#enter(call, makeMedia(call));
    } catch (error) {
      this.#over(error instanceof ConclaveError ? error : new ConclaveError('internal', { cause: error }));
    }
  }

  /** Leaves, or stops trying to join. */
  leave(): void {
    this.#abort?.abort();
    clearInterval(this.#timer);
    if (this.#call) void this.#call.leave();
    else this.back();
  }

  /** To the lobby. */
  back(): void {
    clearInterval(this.#timer);
    this.problem = undefined;
    this.#set('lobby');
    if (!this.media.isOn('audio') && !this.media.isOn('video')) void this.preview();
  }

  dismissSuggestion(): void {
    this.suggestionDismissed = true;
    this.#redraw();
  }

  dismissWarning(): void {
    this.warning = undefined;
    this.#redraw();
  }

  #enter(call: Call, mesh: Mesh | JanusRoom): void {
    this.#call = call;
    this.keyChanges = [];
    this.#opened.clear();
    this.#firstSeen.clear();
    this.#awaySince.clear();
    this.#unconfirmed.clear();
    this.notices.clear();
    const redraw = (): void => void this.#look(false);
    this.#mesh = mesh;
    call.on('epoch', (info) => this.#keyChanged(info));
    call.on('security', ({ message }) => this.#warn(`Something is wrong with this call: ${message}.`));
    call.on('unprotected', () => this.#warn('A connection was cut because its media was not encrypted.'));
    call.on('ended', (error) => this.#over(error));
    call.on('members', redraw);
    call.on('lead', () => this.#leadChanged());
    call.on('active', () => {
      this.notices.active();
      redraw();
    });
    call.on('link', (state) => this.#linked(state));
    call.on('key_missing', (reason) => this.notices.missing(reason));
    call.on('key_found', () => this.notices.missing(undefined));
    call.on('paused', (reason) => this.notices.paused(reason));
    call.on('resumed', () => this.notices.paused(undefined));
    call.on('away', ({ member }) => this.#awaySince.set(member, performance.now()));
    call.on('back', (member) => this.#awaySince.delete(member));
    mesh.on('peer', redraw);
    mesh.on('gone', redraw);
    mesh.on('server', (state) => this.notices.server(state));
    if (call.epoch) this.#keyChanged(call.epoch);
    this.#timer = setInterval(() => void this.#look(true), LOOK_PERIOD);
    this.#set('call');
    if (call.ended) this.#over(call.ended);
  }

  #linked(state: LinkState): void {
    if (state === 'rejoining') {
      // Order numbers of another join may name other people.
      this.#opened.clear();
      this.#firstSeen.clear();
      this.#awaySince.clear();
      this.#unconfirmed.clear();
    }
    this.notices.link(state);
    void this.#look(false);
  }

  #leadChanged(): void {
    const lead = this.#call?.lead;
    // Alone there is nobody else to lead, and whoever comes learns it from the list.
    if (lead && this.people.length > 1) this.notices.tell(leads(lead, this.#call?.me?.joined));
    void this.#look(false);
  }

  #keyChanged(info: EpochInfo): void {
    const change = { info, text: keyChange(info, this.#call?.me?.joined), at: new Date() };
    this.keyChanges = [...this.keyChanges, change].slice(-KEY_CHANGES);
    void this.#look(false);
  }

  /** Looks at everybody; `tick` when a second has passed, so that rates mean something. */
  async #look(tick: boolean): Promise<void> {
    const call = this.#call;
    if (!call || call.ended) return;
    const stats = await call.stats().catch(() => undefined);
    if (!stats || this.#call !== call) return;
    const now = performance.now();
    const peers = this.#mesh?.peers;
    const unconfirmed = this.#unconfirmed.look(call.members, now);
    this.people = call.members.map((member) => {
      const { joined, seat } = member;
      const isMe = joined === call.me?.joined;
      const peer = peers?.get(joined);
      const tracks = stats.transforms.filter((track) => track.joined === joined);
      const opened = tracks.reduce((sum, { framesOut }) => sum + framesOut, 0);
      const known = this.people.find((person) => person.member.joined === joined);
      const rate = tick ? opened - (this.#opened.get(joined) ?? 0) : 0;
      if (tick) this.#opened.set(joined, opened);
      if (!this.#firstSeen.has(joined)) this.#firstSeen.set(joined, now);
      const counters = stats.core.seats?.[seat];
      const waitingSince = counters?.waiting_since;
      const waiting = typeof waitingSince === 'number' ? stats.now - waitingSince : undefined;
      const evidence = { member, peer, tracks, waiting, rate, age: now - (this.#firstSeen.get(joined) ?? now) };
      const fresh = presenceOf(evidence);
      // Between two ticks there is no rate; the last state stands while the connection is as it was.
      const keep = !tick && known !== undefined && known.peer?.state === peer?.state && known.member.committed === member.committed;
      const presence = keep ? known.presence : fresh;
      const since = member.away === undefined ? undefined : this.#awaySince.get(joined);
      const away = since !== undefined && now - since >= AWAY_TIME;
      const [undecryptable, keyless] = [counters?.undecryptable ?? 0, counters?.expired ?? 0];
      return { member, isMe, leads: joined === call.lead?.joined, away, unconfirmed: unconfirmed.has(joined), peer, presence, opened, undecryptable, keyless };
    });
    this.#redraw();
  }

  #warn(text: string): void {
    this.warning = text;
    this.#redraw();
  }

  #over(error: ConclaveError): void {
    clearInterval(this.#timer);
    this.#mesh?.close();
    this.#mesh = undefined;
    this.#call = undefined;
    this.people = [];
    this.notices.clear();
    if (error.code === 'aborted') return this.back();
    this.problem = problemOf(error);
    // Whoever does not come back at once has no use for a burning camera light.
    if (this.problem.remedy !== 'again' && this.problem.remedy !== 'token') this.media.stop();
    this.#set('over');
  }

  /** Tries again at once. */
  again(): void {
    clearInterval(this.#timer);
    void this.join(this.entry);
  }

  #set(stage: Stage): void {
    this.stage = stage;
    this.#redraw();
  }

  #redraw(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** What makes the way that the address asks for. */
async function mediaMaker(name: string, stream: MediaStream): Promise<(call: Call) => Mesh | JanusRoom> {
  const { server, codecs } = readAddress(location.href);
  if (!server) return (call) => new Mesh(call, { stream, codecs });
  const room = await roomOf(name);
  return (call) => new JanusRoom(call, { url: server.url, room, create: true, stream, codecs });
}
