/**
 * Sees whether media left without passing the worker. A browser may ignore a transform without a word, and then sends
 * plaintext: so what the network counted is held against what the worker let through.
 */

import type { TransformStats } from './worker/protocol.ts';

/** What a sender put on the wire, over all its streams. */
export interface Sent {
  /** Whole frames of video: their packets carry more than the frame. */
  readonly frames: number;
  /** Bytes of audio, each packet being one frame; packets that only probe the network have none. */
  readonly bytes: number;
}

/** How far the two counts may part, for they are not taken at the same instant. */
const SLACK: Sent = { frames: 2, bytes: 1500 };

/** The rule, for one sender. */
export class Watchdog {
  #leaked = false;

  /**
   * `sent` must have been read before the worker's counters were, so that the worker is never behind.
   * Returns true once media went past the worker, and from then on.
   */
  check(sent: Sent, passed: Pick<TransformStats, 'framesOut' | 'bytesOut'> | undefined): boolean {
    const { framesOut, bytesOut } = passed ?? { framesOut: 0, bytesOut: 0 };
    if (sent.frames > framesOut + SLACK.frames || sent.bytes > bytesOut + SLACK.bytes) this.#leaked = true;
    return this.#leaked;
  }
}

/** Reads a sender's statistics. */
export function readSent(report: Iterable<unknown>): Sent {
  let [frames, bytes] = [0, 0];
  for (const entry of report) {
    const stats = entry as Partial<RTCOutboundRtpStreamStats> & { retransmittedBytesSent?: number };
    if (stats.type !== 'outbound-rtp') continue;
    if (stats.kind === 'video') frames += stats.framesSent ?? 0;
    else bytes += (stats.bytesSent ?? 0) - (stats.retransmittedBytesSent ?? 0);
  }
  return { frames, bytes };
}
