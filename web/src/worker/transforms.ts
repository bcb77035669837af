/**
 * Frames on their way through the core. Whatever fails is dropped, never passed on: a decoder makes noise of
 * ciphertext, and a network makes a leak of plaintext.
 */

import type { Core } from './core.ts';
import type { TransformOptions, TransformStats } from './protocol.ts';

/** An encoded frame, as WebRTC hands it over. */
export interface EncodedFrame {
  data: ArrayBuffer;
  /** `key` or `delta` on video; absent on audio. */
  readonly type?: string;
  getMetadata(): { mimeType?: string };
}

/** The worker's end of an `RTCRtpScriptTransform`, or the streams that the page moved here; those cannot ask for key frames. */
export interface Transformer {
  readonly readable: ReadableStream<EncodedFrame>;
  readonly writable: WritableStream<EncodedFrame>;
  readonly options: TransformOptions;
  sendKeyFrameRequest?(): Promise<unknown>;
}

/** Frames that may wait at once over all receivers; the core's own bound is lower, this one only guards it. */
const WAITING_FRAMES = 4096;
/** Between two requests for a key frame: a second one cannot be answered faster than the encoder makes the first. */
const KEY_FRAME_PAUSE = 500;
/**
 * Chromium often does not take the first key frame of an AV1 stream that passes a transform of any kind, and asks for another
 * only seconds later. By this frame of the track the decoder has begun or needs one.
 */
const AV1_ASKS_AT = 8;
/** Frames dropped one after the other that make a track count as stuck: more than retransmissions bring at once. */
const STUCK_AFTER = 20;

type Controller = TransformStreamDefaultController<EncodedFrame>;

interface Waiting {
  readonly track: OpenTrack;
  readonly frame: EncodedFrame;
  readonly controller: Controller;
}

/** All transforms of one call. */
export class Transforms {
  readonly #core: () => Core | undefined;
  readonly #now: () => number;
  readonly #tracks = new Set<SealTrack | OpenTrack>();
  readonly #waiting = new Map<number, Waiting>();
  #nextTicket = 1;

  constructor(core: () => Core | undefined, now: () => number) {
    this.#core = core;
    this.#now = now;
  }

  /** Runs frames through the core until the track ends. */
  attach(transformer: Transformer): void {
    const { options } = transformer;
    const track = options.kind === 'seal' ? new SealTrack(options.id) : new OpenTrack(options, transformer);
    this.#tracks.add(track);
    const transform = (frame: EncodedFrame, controller: Controller): void => {
      // An empty frame says nothing, so there is nothing to protect, and nothing is lost without it.
      if (frame.data.byteLength === 0) return;
      if (track instanceof SealTrack) this.#seal(track, frame, controller);
      else this.#open(track, frame, controller);
    };
    // A track that ends, or a connection that closes, ends its pipe with an error or without.
    const ended = (): boolean => this.#tracks.delete(track);
    const pipe = transformer.readable.pipeThrough(new TransformStream({ transform })).pipeTo(transformer.writable);
    pipe.then(ended, ended);
  }

  /** Passes on the frames whose key came, in order, and forgets those whose wait was in vain: says how many. */
  release(): number {
    const core = this.#core();
    if (!core || this.#waiting.size === 0) return 0;
    let lost = 0;
    for (const [ticket, opened] of core.release(this.#now())) {
      const waiting = this.#waiting.get(ticket);
      this.#waiting.delete(ticket);
      if (!waiting) continue;
      waiting.track.waiting -= 1;
      // A second copy (null) is missed by nobody.
      if (opened === undefined) {
        waiting.track.lost();
        lost += 1;
      }
      this.#finish(waiting, opened ?? undefined);
    }
    return lost;
  }

  /** Counters of every transform that runs. */
  stats(): TransformStats[] {
    return [...this.#tracks].map((track) => track.stats());
  }

  #seal(track: SealTrack, frame: EncodedFrame, controller: Controller): void {
    track.framesIn += 1;
    const codec = frame.getMetadata().mimeType;
    const sealed = codec === undefined ? undefined : this.#core()?.seal(codec, new Uint8Array(frame.data));
    track.count(sealed);
    if (sealed) pass(frame, sealed, controller);
  }

  #open(track: OpenTrack, frame: EncodedFrame, controller: Controller): void {
    track.framesIn += 1;
    const codec = frame.getMetadata().mimeType;
    const core = this.#core();
    if (codec === undefined || !core || this.#waiting.size >= WAITING_FRAMES) return track.count(undefined);
    const ticket = this.#nextTicket;
    this.#nextTicket += 1;
    const opened = core.open(this.#now(), track.seat, codec, new Uint8Array(frame.data), ticket);
    if (opened === null) {
      track.waiting += 1;
      this.#waiting.set(ticket, { track, frame, controller });
    } else {
      this.#finish({ track, frame, controller }, opened);
    }
  }

  #finish({ track, frame, controller }: Waiting, opened: Uint8Array | undefined): void {
    track.count(opened);
    if (!opened) return;
    if (frame.type === 'delta') track.askForKeyFrame(this.#now(), frame.getMetadata().mimeType);
    pass(frame, opened, controller);
  }
}

/** Counters of an outgoing track. */
class SealTrack {
  readonly id: number;
  framesIn = 0;
  #framesOut = 0;
  #bytesOut = 0;
  #dropsInARow = 0;

  constructor(id: number) {
    this.id = id;
  }

  /** What became of a frame: its bytes, or nothing. */
  count(bytes: Uint8Array | undefined): void {
    this.#dropsInARow = bytes ? 0 : this.#dropsInARow + 1;
    if (!bytes) return;
    this.#framesOut += 1;
    this.#bytesOut += bytes.length;
  }

  stats(): TransformStats {
    const { id, framesIn } = this;
    const framesOut = this.#framesOut;
    return {
      id,
      kind: 'seal',
      framesIn,
      framesOut,
      bytesOut: this.#bytesOut,
      dropped: framesIn - framesOut,
      waiting: 0,
      stuck: this.#dropsInARow >= STUCK_AFTER,
    };
  }
}

/** Counters of an incoming track, and its wish for a key frame. */
class OpenTrack {
  readonly #id: number;
  readonly #joined: number;
  readonly seat: number;
  readonly #transformer: Transformer;
  framesIn = 0;
  waiting = 0;
  #framesOut = 0;
  #bytesOut = 0;
  #dropped = 0;
  #dropsInARow = 0;
  /** A frame that the decoder needs is lost: it can build on nothing until a key frame comes. */
  #gap = false;
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(options: { id: number; joined: number; seat: number }, transformer: Transformer) {
    this.#id = options.id;
    this.#joined = options.joined;
    this.seat = options.seat;
    this.#transformer = transformer;
  }

  /** Most drops are second copies of old packets, which nobody misses; drops before the first success are not. */
  count(bytes: Uint8Array | undefined): void {
    if (bytes) {
      this.#framesOut += 1;
      this.#bytesOut += bytes.length;
      this.#dropsInARow = 0;
    } else {
      this.#dropped += 1;
      this.#dropsInARow += 1;
      if (this.#framesOut === 0) this.#gap = true;
    }
  }

  /** A frame waited for its key in vain. */
  lost(): void {
    this.#gap = true;
  }

  /** The key is here and the picture is not: one request mends that sooner than the decoder would ask by itself. */
  askForKeyFrame(now: number, codec: string | undefined): void {
    const begins = this.#framesOut === AV1_ASKS_AT && codec?.toLowerCase() === 'video/av1';
    if (!(this.#gap || begins) || now - this.#askedAt < KEY_FRAME_PAUSE) return;
    this.#gap = false;
    this.#askedAt = now;
    // Refused when the receiver has stopped: then nobody waits for a picture either.
    this.#transformer.sendKeyFrameRequest?.().catch(() => {});
  }

  stats(): TransformStats {
    return {
      id: this.#id,
      kind: 'open',
      joined: this.#joined,
      framesIn: this.framesIn,
      framesOut: this.#framesOut,
      bytesOut: this.#bytesOut,
      dropped: this.#dropped,
      waiting: this.waiting,
      stuck: this.waiting > 0 || this.#dropsInARow >= STUCK_AFTER,
    };
  }
}

function pass(frame: EncodedFrame, bytes: Uint8Array, controller: Controller): void {
  const { buffer, byteOffset, byteLength } = bytes;
  frame.data = buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
  try {
    controller.enqueue(frame);
  } catch {
    // The track ended while the frame waited for its key.
  }
}
