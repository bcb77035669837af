/**
 * The SDK by itself, for experiments that a page for people does not offer: media from one call fed into another, and
 * receivers attached to the wrong member. Served by the tests only.
 */

import { Conclave, ConclaveError, type Call } from '../../../web/src/index.ts';

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

/** An error, as it crosses from the page to the test. */
export interface Failure {
  readonly code: string;
  readonly retryable: boolean;
  readonly message: string;
}

/** What came of other members' messages and of the key. */
export interface Heard {
  readonly messages: readonly { readonly from: number; readonly direct: boolean; readonly text: string }[];
  readonly causes: readonly string[];
}

/** One end of one connection in one call. */
class Laboratory {
  readonly heard: { messages: { from: number; direct: boolean; text: string }[]; causes: string[] } = { messages: [], causes: [] };
  #call: Call | undefined;
  #connection: RTCPeerConnection | undefined;

  /** Joins; tells the own order number. */
  async join(call: string, user: string, token: string): Promise<number> {
    this.#call = await Conclave.join({ url: location.origin, call, user, token });
    this.#call.on('message', ({ from, direct, payload }) => {
      this.heard.messages.push({ from, direct, text: new TextDecoder().decode(payload) });
    });
    this.#call.on('epoch', ({ cause }) => this.heard.causes.push(cause));
    return this.#joined().me?.joined ?? -1;
  }

  /** How a join with these options fails. `after`: aborted after so many milliseconds. */
  async failure(options: { url?: string; call?: string; user?: string; token?: string; after?: number }): Promise<Failure> {
    const { url = location.origin, call = 'demo', user = 'Ana', token = '', after } = options;
    const signal = after === undefined ? undefined : AbortSignal.timeout(after);
    return failureOf(Conclave.join({ url, call, user, token, ...(signal && { signal }) }));
  }

  /** How a command fails. */
  async refusal(command: 'long' | 'remove' | 'stranger'): Promise<Failure> {
    const call = this.#joined();
    const commands = {
      long: () => call.send(new Uint8Array(40 * 1024 + 1)),
      remove: () => call.remove(1),
      stranger: () => call.send('hello', 99),
    };
    return failureOf(commands[command]());
  }

  async send(text: string, to?: number): Promise<void> {
    await this.#joined().send(text, to);
  }

  async rotate(): Promise<void> {
    await this.#joined().rotate();
  }

  /** Leaves; what every method says from then on. */
  async leave(): Promise<Failure> {
    const call = this.#joined();
    await call.leave();
    return failureOf(call.send('too late'));
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

async function failureOf(attempt: Promise<unknown>): Promise<Failure> {
  try {
    await attempt;
  } catch (error) {
    if (!(error instanceof ConclaveError)) throw error;
    const { code, retryable, message } = error;
    return { code, retryable, message };
  }
  throw new Error('it worked');
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
