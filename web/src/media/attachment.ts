/** How frames get from a sender into the worker, and from the worker to a receiver: one interface over two ways. */

import { ConclaveError } from '../errors.ts';
import type { WorkerLike } from '../link.ts';
import type { TransformOptions } from '../worker/protocol.ts';

/**
 * The two ways. `script`: the standard's `RTCRtpScriptTransform`, in Chromium since 141, in Firefox and Safari. `streams`: the
 * older encoded streams of Chromium, which are moved to the worker.
 */
export type Way = 'script' | 'streams';

/** What is looked at: `globalThis` in a browser. */
export interface MediaSurroundings {
  readonly RTCRtpScriptTransform?: unknown;
  readonly RTCRtpSender?: { readonly prototype?: object };
  readonly RTCRtpReceiver?: { readonly prototype?: object };
}

/** An end with the older way in it. */
interface WithStreams {
  createEncodedStreams(): { readonly readable: ReadableStream; readonly writable: WritableStream };
}

/** The way that this browser offers, the standard's first; `undefined` when it has none. */
export function wayOf(where: MediaSurroundings = globalThis as MediaSurroundings): Way | undefined {
  if (where.RTCRtpScriptTransform !== undefined) return 'script';
  return hasStreams(where.RTCRtpSender) && hasStreams(where.RTCRtpReceiver) ? 'streams' : undefined;
}

/**
 * Leads the frames of one end through the worker, for as long as the end lives.
 *
 * Throws `not_protectable` when the browser refuses: its connection was not made for it, or somebody else has its frames.
 */
export function attach(worker: WorkerLike, end: RTCRtpSender | RTCRtpReceiver, options: TransformOptions, way = wayOf()): void {
  try {
    if (way === 'script') end.transform = new RTCRtpScriptTransform(worker as Worker, options);
    else if (way === 'streams') attachStreams(worker, end as unknown as WithStreams, options);
    else throw new Error('this browser has no way to encrypt media');
  } catch (cause) {
    throw new ConclaveError('not_protectable', { cause });
  }
}

function attachStreams(worker: WorkerLike, end: WithStreams, options: TransformOptions): void {
  const { readable, writable } = end.createEncodedStreams();
  worker.postMessage({ type: 'streams', options, readable, writable }, [readable, writable]);
}

function hasStreams(end: { readonly prototype?: object } | undefined): boolean {
  return end?.prototype !== undefined && 'createEncodedStreams' in end.prototype;
}
