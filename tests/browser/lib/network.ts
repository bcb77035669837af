/** A network between a page and its relay that can go away. */

import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

import type { Relay } from './programs.ts';

/** Passes bytes on while it is whole. */
export class Network {
  readonly url: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #whole = true;

  private constructor(relay: Relay, server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('connection', (near) => {
      const far = connect(relay.port, '127.0.0.1');
      for (const [socket, other] of [[near, far], [far, near]] as const) {
        this.#sockets.add(socket);
        socket.pipe(other);
        // One end that is gone takes the other with it.
        socket.on('error', () => {});
        socket.on('close', () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
      }
      if (!this.#whole) near.destroy();
    });
  }

  /** One in front of a relay. */
  static async to(relay: Relay): Promise<Network> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Network(relay, server);
  }

  /** Every connection breaks, and no new one comes through. */
  cut(): void {
    this.#whole = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** New connections come through again. */
  mend(): void {
    this.#whole = true;
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}
