/** Native participants with media: what they publish, and what they say of what they receive. */

import { ROOT } from './paths.ts';
import type { Program } from './programs.ts';

const fixture = (name: string): string => `${ROOT}client/fixtures/${name}`;

/** A clip in each codec. */
export const CLIPS = { VP8: fixture('vp8.ivf'), VP9: fixture('vp9.ivf'), AV1: fixture('av1.ivf'), H264: fixture('h264.h264') } as const;
/** And one of sound. */
export const SOUND = fixture('opus.ogg');
/** A codec that there is a clip in. */
export type Codec = keyof typeof CLIPS;

/** What the native program says of one stream that it receives. */
export interface Stream {
  readonly user: string;
  readonly format: string;
  readonly number: number;
  readonly frames_in: number;
  readonly opened: number;
  readonly undecryptable: number;
  readonly duplicates: number;
  readonly dropped: number;
}

/** Why frames were dropped, as the program logs it. */
export function drops(native: Program): string[] {
  return native.lines.filter((line) => line.includes('a frame is dropped'));
}

/** The last report of each stream. */
export function streams(native: Program): Stream[] {
  const last = new Map<string, Stream>();
  for (const line of native.lines) {
    if (!line.includes('"stream"')) continue;
    const { stream } = JSON.parse(line) as { stream?: Stream };
    if (stream) last.set(`${stream.user} ${stream.format} ${stream.number}`, stream);
  }
  return [...last.values()];
}
