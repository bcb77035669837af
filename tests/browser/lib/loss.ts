/** A network that loses packets of media: everything between a page and the others goes through sockets of this process. */

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import type { BrowserContext } from 'playwright-core';

/** Loses so many of a hundred packets, in both directions. */
export class LossyNetwork {
  readonly #percent: number;
  readonly #sockets = new Map<string, Promise<Socket>>();
  /** Packets that came, and those of them that were lost. */
  packets = 0;
  lost = 0;
  /** A generator of its own (xorshift), so that no two runs lose different packets by chance alone. */
  #state = 0x2545f491;

  constructor(percent: number) {
    this.#percent = percent;
  }

  /** Puts a page's media behind this network. Call it before the page is opened. */
  async around(context: BrowserContext): Promise<void> {
    await context.exposeFunction('lossyPort', async (address: string, port: number) => (await this.#towards(address, port)).address().port);
    await context.addInitScript(goThrough);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets.values()) (await socket).close();
  }

  /** A socket that stands for another one: what anybody sends to it goes there, and back, as through a router. */
  #towards(address: string, port: number): Promise<Socket> {
    const name = `${address} ${port}`;
    const known = this.#sockets.get(name) ?? this.#open('127.0.0.1', (packet, near, front) => {
      // Answers come to a socket of that sender's own.
      const back = `${name} ${near.address} ${near.port}`;
      const far = this.#sockets.get(back) ?? this.#open('0.0.0.0', (answer) => front.send(answer, near.port, near.address));
      this.#sockets.set(back, far);
      void far.then((socket) => socket.send(packet, port, address));
    });
    this.#sockets.set(name, known);
    return known;
  }

  #open(host: string, received: (packet: Buffer, from: RemoteInfo, socket: Socket) => void): Promise<Socket> {
    const socket = createSocket('udp4', (packet, from) => {
      if (!this.#loses()) received(packet, from, socket);
    });
    // Whoever is not there any more says so; nobody listens.
    socket.on('error', () => {});
    return new Promise((resolve) => {
      socket.bind(0, host, () => resolve(socket));
    });
  }

  #loses(): boolean {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    this.packets += 1;
    const loses = (this.#state >>> 0) % 100 < this.#percent;
    if (loses) this.lost += 1;
    return loses;
  }
}

/**
 * Runs in the page before anything else: the candidates of others lead through the network, and its own are told to nobody,
 * so that there is no other way.
 */
function goThrough(): void {
  const port = Reflect.get(globalThis, 'lossyPort') as (address: string, port: number) => Promise<number>;
  const { prototype } = RTCPeerConnection;
  const rewrite = async (line: string): Promise<string> => {
    const [, before, address, number, after] = /^((?:a=)?candidate:\S+ 1 udp \d+) (\S+) (\d+)( .*)$/i.exec(line) ?? [];
    if (before === undefined || address === undefined || address.includes(':')) return /^(?:a=)?candidate:/.test(line) ? '' : line;
    return `${before} 127.0.0.1 ${await port(address, Number(number))}${after ?? ''}`;
  };
  const setRemoteDescription = prototype.setRemoteDescription as (this: RTCPeerConnection, description: RTCSessionDescriptionInit) => Promise<void>;
  const addIceCandidate = prototype.addIceCandidate as (this: RTCPeerConnection, candidate: RTCIceCandidateInit) => Promise<void>;
  prototype.setRemoteDescription = async function through(description: RTCSessionDescriptionInit) {
    const lines = await Promise.all((description.sdp ?? '').split('\r\n').map(rewrite));
    const sdp = lines.filter((line, i) => line !== '' || i === lines.length - 1).join('\r\n');
    return setRemoteDescription.call(this, { type: description.type, sdp });
  };
  prototype.addIceCandidate = async function through(candidate?: RTCIceCandidateInit | null) {
    const line = await rewrite(candidate?.candidate ?? '');
    if (candidate && line !== '') await addIceCandidate.call(this, { ...candidate, candidate: line });
  };
  const local = Object.getOwnPropertyDescriptor(prototype, 'localDescription')?.get;
  Object.defineProperty(prototype, 'localDescription', {
    get(this: RTCPeerConnection) {
      const description = local?.call(this) as RTCSessionDescription | null;
      if (!description) return null;
      return { type: description.type, sdp: description.sdp.replaceAll(/^a=candidate:.*\r\n/gm, '') };
    },
  });
  Object.defineProperty(prototype, 'onicecandidate', { set() {} });
}
