/**
 * The SDK by itself, for experiments that a page for people does not offer: media from one call fed into another, and
 * receivers attached to the wrong member. Served by the tests only.
 */

import { allowedCodecs, Conclave, ConclaveError, JanusRoom, type Call, type Layer, type MediaStats, type VideoCodec } from '../../../web/src/index.ts';
import { JanusSession, type Handle } from '../../../web/src/adapters/janus_session.ts';

/** What an experiment sees of a receiving end. */
export interface Decoded {
  /** Frames that the decoder turned into pictures. */
  readonly frames: number;
  /** Samples of sound that came of frames. */
  readonly heard: number;
  readonly codecs: readonly string[];
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

/** What came of one member's media through a room. */
export interface Seen {
  readonly member: number;
  readonly codecs: readonly string[];
  readonly decoded: number;
  readonly height: number;
  /** Samples of sound that came of frames. */
  readonly heard: number;
  readonly opened: number;
  readonly undecryptable: number;
  readonly refused: number;
  readonly keyless: number;
}

/** One end of one connection in one call. */
class Laboratory {
  readonly roomErrors: string[] = [];
  readonly mediaStats: (MediaStats & { readonly at: number })[] = [];
  /** Senders whose media went past the worker. */
  unprotected = 0;
  readonly heard: { messages: { from: number; direct: boolean; text: string }[]; causes: string[] } = { messages: [], causes: [] };
  #call: Call | undefined;
  #connection: RTCPeerConnection | undefined;
  #room: JanusRoom | undefined;

  /** Joins; tells the own order number. */
  async join(call: string, user: string, token: string): Promise<number> {
    this.#call = await Conclave.join({ url: location.origin, call, user, token });
    this.#call.on('message', ({ from, direct, payload }) => {
      this.heard.messages.push({ from, direct, text: new TextDecoder().decode(payload) });
    });
    this.#call.on('media_stats', (stats) => this.mediaStats.push({ ...stats, at: performance.now() }));
    this.#call.on('unprotected', () => (this.unprotected += 1));
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
  async refusal(command: 'long' | 'remove' | 'stranger' | 'late'): Promise<Failure> {
    const call = this.#joined();
    const commands = {
      long: () => call.send(new Uint8Array(40 * 1024 + 1)),
      remove: () => call.remove(1),
      stranger: () => call.send('hello', 99),
      late: async () => {
        const connection = new RTCPeerConnection();
        connection.addTransceiver('video');
        call.protect(connection);
      },
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

  /** Sends the fake camera and microphone, protected, in one codec; gives the offer with all its candidates. */
  async offer(codec: VideoCodec = 'vp8', elsewhere = false): Promise<string> {
    const call = this.#joined();
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 180, frameRate: 15 } });
    const connection = this.#connect(call, elsewhere);
    if (elsewhere) call.protect(connection);
    for (const track of stream.getTracks()) {
      const transceiver = connection.addTransceiver(track, { direction: 'sendonly' });
      if (!elsewhere) call.protect(transceiver.sender);
      if (track.kind === 'video') allowOnly(transceiver, codec);
    }
    await connection.setLocalDescription();
    return gathered(connection);
  }

  /** Receives what is offered, as media of this member. */
  async answer(offer: string, member: number, elsewhere = false): Promise<string> {
    const call = this.#joined();
    const connection = this.#connect(call, elsewhere);
    if (elsewhere) call.unprotect(connection, member);
    const stream = new MediaStream();
    connection.ontrack = ({ receiver, track }) => {
      if (!elsewhere) call.unprotect(receiver, member);
      stream.addTrack(track);
      show(member, stream);
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
    const { decoded: frames, heard, codecs } = inbound(stats);
    const { transforms, core } = await this.#joined().stats();
    const sum = (of: 'framesIn' | 'framesOut'): number => transforms.reduce((total, track) => total + track[of], 0);
    const seats = Object.values(core.seats ?? {});
    const count = (of: 'undecryptable' | 'refused'): number => seats.reduce((total, seat) => total + seat[of], 0);
    return { frames, heard, codecs, framesIn: sum('framesIn'), framesOut: sum('framesOut'), undecryptable: count('undecryptable'), refused: count('refused') };
  }

  /** Sends camera and microphone into a room, and takes what is there. */
  async enterRoom(options: { url: string; room: number; codec: VideoCodec; simulcast?: boolean; create?: boolean; pose?: number }): Promise<void> {
    const { codec, pose, ...rest } = options;
    // Browsers make no three sizes of a smaller picture.
    const [width, height] = rest.simulcast ? [960, 540] : [640, 360];
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width, height, frameRate: 15 } });
    this.#room = new JanusRoom(this.#joined(), { ...rest, codecs: [codec], stream, ...(pose !== undefined && { connect: (url: string) => pretender(url, pose) }) });
    this.#room.on('error', ({ message }) => this.roomErrors.push(message));
    this.#room.on('peer', ({ joined, stream: arrived }) => show(joined, arrived));
  }

  leaveRoom(): void {
    this.#room?.close();
    for (const video of document.querySelectorAll('video')) video.remove();
  }

  /** Makes a room that the server records; `sealed`: for encrypted media only. */
  async makeRoom({ url, room, folder, sealed }: { url: string; room: number; folder: string; sealed: boolean }): Promise<void> {
    const { handle, end } = await plainRoom(url);
    await handle.request({ request: 'create', room, publishers: 8, videocodec: 'vp8', audiocodec: 'opus', record: true, rec_dir: folder, require_e2ee: sealed, fir_freq: 1 });
    end();
  }

  /** Sends the camera into a room as it is, by WebRTC alone. */
  async publishClear({ url, room }: { url: string; room: number }): Promise<void> {
    const { handle } = await plainRoom(url);
    await handle.request({ request: 'join', ptype: 'publisher', room, display: 'clear' });
    const connection = new RTCPeerConnection();
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360, frameRate: 15 } });
    for (const track of stream.getTracks()) connection.addTrack(track, stream);
    await connection.setLocalDescription();
    const offer = { type: 'offer', sdp: await gathered(connection) } as const;
    const { jsep } = await handle.request({ request: 'publish' }, offer);
    if (jsep) await connection.setRemoteDescription(jsep);
  }

  /** How many pictures a decoder for VP8 makes of these frames. */
  async decode(frames: readonly { key: boolean; data: string }[]): Promise<number> {
    let pictures = 0;
    let decoder: VideoDecoder | undefined;
    for (const [i, { key, data }] of frames.entries()) {
      if (!decoder || decoder.state === 'closed') {
        if (!key) continue;
        decoder = new VideoDecoder({
          output(picture) {
            pictures += 1;
            picture.close();
          },
          // It is closed by then, and the next key frame gets another.
          error() {},
        });
        decoder.configure({ codec: 'vp8' });
      }
      const bytes = Uint8Array.from(atob(data), (char) => char.codePointAt(0) ?? 0);
      try {
        decoder.decode(new EncodedVideoChunk({ type: key ? 'key' : 'delta', timestamp: i * 66_000, data: bytes }));
      } catch {
        // Not even the header of a frame.
      }
      while (decoder.state === 'configured' && decoder.decodeQueueSize > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (decoder?.state === 'configured') await decoder.flush().catch(() => {});
    return pictures;
  }

  async setLayer(member: number, layer: Layer): Promise<void> {
    await this.#room?.setLayer(member, layer);
  }

  /** What came of everybody who sends into the room. */
  async seen(): Promise<Seen[]> {
    const call = this.#joined();
    const { core } = await call.stats();
    const all: Seen[] = [];
    for (const member of this.#room?.peers.keys() ?? []) {
      const seat = call.members.find(({ joined }) => joined === member)?.seat ?? -1;
      const { opened = 0, undecryptable = 0, refused = 0, expired = 0 } = core.seats?.[seat] ?? {};
      all.push({ member, ...inbound(await this.#room?.getStats(member)), opened, undecryptable, refused, keyless: expired });
    }
    return all;
  }

  /** Whether this browser can send in a codec. */
  sends(codec: VideoCodec): boolean {
    return (RTCRtpSender.getCapabilities('video')?.codecs ?? []).some(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`);
  }

  /** The connection of the next experiment, made by the SDK or elsewhere; that of the last one is over. */
  #connect(call: Call, elsewhere: boolean): RTCPeerConnection {
    this.#connection?.close();
    this.#connection = elsewhere ? new RTCPeerConnection() : call.createPeerConnection();
    return this.#connection;
  }

  #joined(): Call {
    if (!this.#call) throw new Error('join first');
    return this.#call;
  }
}

/** A handle in no room, without any encryption. */
async function plainRoom(url: string): Promise<{ handle: Handle; end(): void }> {
  const session = await JanusSession.open(new WebSocket(url, 'janus-protocol'), () => {});
  return { handle: await session.attach({ event() {}, hangup() {} }), end: () => session.close() };
}

/** A socket on which this device says that it is another member. */
function pretender(url: string, member: number): WebSocket {
  const socket = new WebSocket(url, 'janus-protocol');
  const send = socket.send.bind(socket);
  socket.send = (text) => send(String(text).replace(/"display":"conclave \d+"/, `"display":"conclave ${member}"`));
  return socket;
}

/** What a connection received. */
function inbound(report: RTCStatsReport | undefined): Pick<Seen, 'codecs' | 'decoded' | 'height' | 'heard'> {
  let [decoded, height, heard] = [0, 0, 0];
  const codecs = new Set<string>();
  for (const entry of report?.values() ?? []) {
    if (entry.type !== 'inbound-rtp') continue;
    decoded += entry.framesDecoded ?? 0;
    height = entry.frameHeight ?? height;
    heard += (entry.totalSamplesReceived ?? 0) - (entry.concealedSamples ?? 0);
    const codec = report?.get(entry.codecId) as { mimeType?: string } | undefined;
    if (codec?.mimeType !== undefined) codecs.add(codec.mimeType);
  }
  return { codecs: [...codecs].toSorted(), decoded, height, heard };
}

/** Plays a member's stream: a browser decodes nothing for nobody. */
function show(member: number, stream: MediaStream): void {
  const id = `member-${member}`;
  const video = (document.querySelector<HTMLVideoElement>(`#${id}`) ?? document.body.appendChild(document.createElement('video')));
  if (video.srcObject === stream) return;
  Object.assign(video, { id, srcObject: stream });
  void video.play().catch(() => {});
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

function allowOnly(transceiver: RTCRtpTransceiver, codec: VideoCodec): void {
  const codecs = allowedCodecs('video', RTCRtpReceiver.getCapabilities('video')?.codecs ?? [], [codec]);
  transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => [`video/${codec}`, 'video/rtx'].includes(mimeType.toLowerCase())));
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
