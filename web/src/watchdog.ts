/**
 * Sees whether media left without passing the worker. A browser may ignore a transform without a word, and then sends
 * plaintext: so what the network counted is held against what the worker let through.
 */

import type { TransformStats } from './worker/protocol.ts';

/** Frames that the two counts may part by: they are not taken at the same instant. */
const SLACK = 2;

/** The rule, for one sender. */
export class Watchdog {
  #leaked = false;

  /**
   * `sent` must have been read before the worker's counters were, so that the worker is never behind.
   * Returns true once media went past the worker, and from then on.
   */
  check(sent: number, passed: Pick<TransformStats, 'framesOut'> | undefined): boolean {
    if (sent > (passed?.framesOut ?? 0) + SLACK) this.#leaked = true;
    return this.#leaked;
  }
}

/** Frames that a sender put on the wire, over all its streams: whole frames of video, packets of audio. */
export function framesSent(report: Iterable<unknown>): number {
  let frames = 0;
  for (const entry of report) {
    const stats = entry as Partial<RTCOutboundRtpStreamStats> & { retransmittedPacketsSent?: number };
    if (stats.type !== 'outbound-rtp') continue;
    // An Opus frame is one packet; video counts whole frames, for a frame is many packets.
    frames +=
      stats.kind === 'audio'
        ? (stats.packetsSent ?? 0) - (stats.retransmittedPacketsSent ?? 0)
        : (stats.framesSent ?? 0);
  }
  return frames;
}
