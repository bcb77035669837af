/**
 * End-to-end-encrypted calls in the browser.
 *
 * {@link Conclave.join} starts one worker, which makes the device, speaks with the relay, holds every key and runs every
 * frame; what comes back is a {@link Call}: who is here, which epoch they share and why, and the two methods that attach
 * media to the worker, `protect` and `unprotect`. {@link Mesh} does the rest for calls from browser to browser.
 * Read `client.ts` next, then `call.ts`; `worker/host.ts` is the other side.
 */

export { JanusRoom, roomOf, type JanusOptions } from './adapters/janus.ts';
export type { Layer, RoomId } from './adapters/janus_feed.ts';
export { Call, type JoinStage } from './call.ts';
export { Conclave, type JoinOptions } from './client.ts';
export { ConclaveError, type ErrorCode, type RelayCode } from './errors.ts';
export type {
  AwayReason,
  CallEvents,
  Cause,
  Epoch,
  EpochInfo,
  KeyMissing,
  LeftReason,
  LinkState,
  Member,
  Message,
  PauseReason,
  Role,
  SecurityEvent,
} from './events.ts';
export { allowedCodecs, keepAllowedCodecs, type Kind, type VideoCodec } from './media/codecs.ts';
export { Mesh, type MeshEvents, type MeshOptions } from './media/mesh.ts';
export type { MediaStats } from './media/stats.ts';
export type { PeerState, PeerView } from './media/peer.ts';
export { unsupported } from './support.ts';
export type { CoreStats, SeatStats, TransformStats, WorkerStats } from './worker/protocol.ts';
