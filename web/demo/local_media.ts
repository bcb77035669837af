/** This device's camera and microphone. */

import { mediaProblem } from './words.ts';

/** What is captured. */
export type Kind = 'audio' | 'video';

/** Turns camera and microphone on and off. A camera that is off is released: its light goes out. */
export class LocalMedia {
  /** For the own preview. The same object all along. */
  readonly stream = new MediaStream();
  /** Pictures of 320 × 180 at 15 a second instead of 640 × 360 at 24. Takes effect when the camera starts. */
  small = false;
  /** Why there is no camera or microphone, in words. */
  problem: string | undefined;
  /** The browser is asking, or the device is starting. */
  busy = false;
  readonly #tracks: Record<Kind, MediaStreamTrack | null> = { audio: null, video: null };
  readonly #changed: (kind: Kind, track: MediaStreamTrack | null) => void;

  constructor(changed: (kind: Kind, track: MediaStreamTrack | null) => void) {
    this.#changed = changed;
  }

  /** Whether this kind is sent. */
  isOn(kind: Kind): boolean {
    return this.#tracks[kind] !== null;
  }

  /** Asks for both; takes one of them when only one can be had. */
  async start(): Promise<void> {
    await this.#capture(['audio', 'video']);
    if (this.problem === undefined) return;
    const { problem } = this;
    for (const kind of ['video', 'audio'] as const) {
      await this.#capture([kind]);
      // With one of the two the person is not shut out, and the buttons show what is missing.
      if (this.problem === undefined) return;
    }
    this.problem = problem;
  }

  /** Turns one of the two on or off. */
  async toggle(kind: Kind): Promise<void> {
    if (this.busy) return;
    if (this.isOn(kind)) this.#put(kind, null);
    else await this.#capture([kind]);
  }

  /** Lets go of everything. */
  stop(): void {
    this.#put('audio', null);
    this.#put('video', null);
  }

  async #capture(kinds: readonly Kind[]): Promise<void> {
    this.busy = true;
    this.problem = undefined;
    try {
      const captured = await navigator.mediaDevices.getUserMedia(this.#constraints(kinds));
      for (const track of captured.getTracks()) this.#put(track.kind as Kind, track);
    } catch (error) {
      this.problem = mediaProblem(error);
    } finally {
      this.busy = false;
    }
  }

  #constraints(kinds: readonly Kind[]): MediaStreamConstraints {
    const [width, height, frameRate] = this.small ? [320, 180, 15] : [640, 360, 24];
    return {
      audio: kinds.includes('audio') && { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      video: kinds.includes('video') && { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate, max: frameRate } },
    };
  }

  #put(kind: Kind, track: MediaStreamTrack | null): void {
    const before = this.#tracks[kind];
    if (before) {
      before.onended = null;
      before.stop();
      this.stream.removeTrack(before);
    }
    this.#tracks[kind] = track;
    if (track) {
      // Unplugged, or taken away in the browser's settings.
      track.onended = () => this.#put(kind, null);
      this.stream.addTrack(track);
    }
    if (before !== track) this.#changed(kind, track);
  }
}
