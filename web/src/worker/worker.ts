/** The one worker: hands a {@link Host} the browser's socket, clock and WASM, and has no state of its own. */

import init, { Core } from '../../pkg/conclave_wasm.js';
import { ConclaveError } from '../errors.ts';
import { Host, type World } from './host.ts';
import type { SocketEvents } from './line.ts';
import type { FromWorker, ToWorker } from './protocol.ts';
import type { Transformer } from './transforms.ts';

/** The part of a dedicated worker's global scope that is used here. */
interface Scope {
  postMessage(message: FromWorker): void;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  onrtctransform: ((event: { transformer: Transformer }) => void) | null;
}

const scope = globalThis as unknown as Scope;

const world: World = {
  async makeCore(profile) {
    try {
      await init();
    } catch (cause) {
      throw new ConclaveError('worker_lost', { message: 'The encryption core did not load.', cause });
    }
    return new Core(JSON.stringify(profile));
  },
  connect(url, events) {
    const socket = new WebSocket(url);
    listen(socket, events);
    return socket;
  },
  post: (message) => scope.postMessage(message),
  now: () => performance.now(),
  random: () => Math.random(),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds);
    return () => clearTimeout(timer);
  },
};

function listen(socket: WebSocket, events: SocketEvents): void {
  socket.addEventListener('open', () => events.opened());
  socket.addEventListener('message', ({ data }) => {
    // The protocol is text; a relay that sends anything else is not one of ours.
    if (typeof data === 'string') events.text(data);
    else socket.close();
  });
  socket.addEventListener('close', ({ code }) => events.closed(code));
}

const host = new Host(world);
scope.onmessage = ({ data }) => host.handle(data);
scope.onrtctransform = ({ transformer }) => host.attach(transformer);
