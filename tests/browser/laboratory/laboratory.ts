/**
 * The SDK by itself, for experiments that a page for people does not offer: media from one call fed into another, and
 * receivers attached to the wrong member. Served by the tests only.
 */

import { Conclave, type Call } from '../../../web/src/index.ts';

/** What an experiment sees of a receiving end. */
export interface Decoded {
  /** Frames that the decoder turned into pictures. */
  readonly frames: number;
  /** Frames that arrived in the worker, and those that it opened. */
  readonly framesIn: number;
  readonly framesOut: number;
  /** Frames that did not open under the key that they name. */
  readonly undecryptable: number;
  /** Frames that name another sender than the receiver was attached for. */
  readonly refused: number;
}

/** One end of one connection in one call. */
class Laboratory {
  #call: Call | undefined;
  #connection: RTCPeerConnection | undefined;

  /** Joins; tells the own order number. */
  async join(call: string, user: string, token: string): Promise<number> {
    this.#call = await Conclave.join({ url: location.origin, call, user, token });
    return this.#joined().me?.joined ?? -1;
  }

  /** Resolves once this device seals, with the fingerprint of its newest epoch. */
  async active(): Promise<string> {
    const call = this.#joined();
    if (!call.active) await new Promise<void>((resolve) => call.on('active', () => resolve()));
    return call.epoch?.fingerprint ?? '';
  }

  /** How many the roster has. */
  roster(): number {
    return this.#joined().epoch?.members.length ?? 0;
  }

  /** Sends the fake camera, protected; gives the offer with all its candidates. */
  async offer(): Promise<string> {
    const call = this.#joined();
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 180, frameRate: 15 } });
    const connection = call.createPeerConnection();
    this.#connection = connection;
    const [track] = stream.getVideoTracks();
    if (!track) throw new Error('no camera');
    const transceiver = connection.addTransceiver(track, { direction: 'sendonly' });
    call.protect(transceiver.sender);
    preferVp8(transceiver);
    await connection.setLocalDescription();
    return gathered(connection);
  }

  /** Receives what is offered, as media of this member. */
  async answer(offer: string, member: number): Promise<string> {
    const call = this.#joined();
    const connection = call.createPeerConnection();
    this.#connection = connection;
    connection.ontrack = ({ receiver, track }) => {
      call.unprotect(receiver, member);
      const video = document.createElement('video');
      video.muted = true;
      video.srcObject = new MediaStream([track]);
      document.body.append(video);
      void video.play();
    };
    await connection.setRemoteDescription({ type: 'offer', sdp: offer });
    await connection.setLocalDescription();
    return gathered(connection);
  }

  async accept(answer: string): Promise<void> {
    await this.#connection?.setRemoteDescription({ type: 'answer', sdp: answer });
  }

  async decoded(): Promise<Decoded> {
    const stats = await this.#connection?.getStats();
    let frames = 0;
    for (const entry of stats?.values() ?? []) {
      if (entry.type === 'inbound-rtp') frames += entry.framesDecoded ?? 0;
    }
    const { transforms, core } = await this.#joined().stats();
    const sum = (of: 'framesIn' | 'framesOut'): number => transforms.reduce((total, track) => total + track[of], 0);
    const seats = Object.values(core.seats ?? {});
    const count = (of: 'undecryptable' | 'refused'): number => seats.reduce((total, seat) => total + seat[of], 0);
    return { frames, framesIn: sum('framesIn'), framesOut: sum('framesOut'), undecryptable: count('undecryptable'), refused: count('refused') };
  }

  #joined(): Call {
    if (!this.#call) throw new Error('join first');
    return this.#call;
  }
}

function preferVp8(transceiver: RTCRtpTransceiver): void {
  const codecs = RTCRtpReceiver.getCapabilities('video')?.codecs ?? [];
  transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => /VP8|rtx/i.test(mimeType)));
}

async function gathered(connection: RTCPeerConnection): Promise<string> {
  while (connection.iceGatheringState !== 'complete') {
    await new Promise((resolve) => connection.addEventListener('icegatheringstatechange', resolve, { once: true }));
  }
  return connection.localDescription?.sdp ?? '';
}

declare global {
  interface Window {
    laboratory: Laboratory;
  }
}

window.laboratory = new Laboratory();
