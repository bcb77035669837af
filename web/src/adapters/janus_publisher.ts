/** What this device sends into a room: one connection with one track of each kind, all of it sealed. */

import type { Call } from '../call.ts';
import { ConclaveError } from '../errors.ts';
import { allowedCodecs, keepAllowedCodecs, type Kind, type VideoCodec } from '../media/codecs.ts';
import { gathered } from '../media/gathering.ts';
import type { PeerState } from '../media/peer.ts';
import { sealed } from './janus_feed.ts';
import type { Handle } from './janus_session.ts';

/** What a publisher needs, and whom it tells. */
export interface PublisherOptions {
  readonly call: Call;
  /** In the room already, as a publisher. */
  readonly handle: Handle;
  readonly tracks: Readonly<Record<Kind, MediaStreamTrack | null>>;
  readonly codecs: readonly VideoCodec[];
  readonly simulcast: boolean;
  /** The connection failed. */
  lost(): void;
}

/** Three sizes, the largest first: the order in which the server numbers them from the back. */
const LAYERS: RTCRtpEncodingParameters[] = [
  { rid: 'h' },
  { rid: 'm', scaleResolutionDownBy: 2 },
  { rid: 'l', scaleResolutionDownBy: 4 },
];

/** The own feed. */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #connection: RTCPeerConnection;
  readonly #senders: Readonly<Record<Kind, RTCRtpSender>>;
  /** Candidates that came after the description went. */
  #trickles = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#connection = options.call.createPeerConnection({ bundlePolicy: 'max-bundle' });
    options.call.protect(this.#connection);
    this.#senders = { audio: this.#add('audio'), video: this.#add('video') };
    this.#connection.onicecandidate = ({ candidate }) => {
      if (this.#trickles) options.handle.trickle(candidate?.toJSON() ?? null);
    };
    this.#connection.onconnectionstatechange = () => {
      if (this.#connection.connectionState === 'failed') options.lost();
    };
  }

  get state(): PeerState {
    const { connectionState } = this.#connection;
    if (connectionState === 'connected') return 'connected';
    if (connectionState === 'disconnected') return 'interrupted';
    return connectionState === 'failed' || connectionState === 'closed' ? 'failed' : 'connecting';
  }

  /** Whether this sender belongs here. */
  owns(sender: RTCRtpSender): boolean {
    return sender === this.#senders.audio || sender === this.#senders.video;
  }

  /** Offers to the room; resolves once it has answered. */
  async publish(): Promise<void> {
    const { handle, codecs } = this.#options;
    for (const kind of ['audio', 'video'] as const) await this.#senders[kind].replaceTrack(this.#options.tracks[kind]);
    await this.#connection.setLocalDescription();
    await gathered(this.#connection);
    const { localDescription } = this.#connection;
    if (!localDescription) throw new ConclaveError('media_server');
    const [videocodec] = codecs;
    const offer = { ...sealed(localDescription), sdp: keepAllowedCodecs(localDescription.sdp) };
    this.#trickles = this.#connection.iceGatheringState !== 'complete';
    const { jsep } = await handle.request({ request: 'publish', audiocodec: 'opus', ...(videocodec && { videocodec }) }, offer);
    if (jsep?.type !== 'answer') throw new ConclaveError('media_server', { message: 'The media server gave no answer to what this device sends.' });
    await this.#connection.setRemoteDescription(jsep);
  }

  /** Sends another track from here on, or none. */
  setTrack(kind: Kind, track: MediaStreamTrack | null): void {
    // Rejected when the connection closed meanwhile.
    this.#senders[kind].replaceTrack(track).catch(() => {});
  }

  close(): void {
    this.#options.handle.detach();
    this.#connection.close();
  }

  #add(kind: Kind): RTCRtpSender {
    const layers = kind === 'video' && this.#options.simulcast ? { sendEncodings: LAYERS } : {};
    const transceiver = this.#connection.addTransceiver(kind, { direction: 'sendonly', ...layers });
    transceiver.setCodecPreferences?.(allowedCodecs(kind, RTCRtpReceiver.getCapabilities(kind)?.codecs ?? [], this.#options.codecs));
    return transceiver.sender;
  }
}
