/** A videoroom without media, for the tests beside it: answers what the adapter asks, and remembers it. */

import type { JanusSocket } from '../janus_session.ts';

type Message = Record<string, unknown> & { janus: string; transaction: string; body?: Record<string, unknown>; handle_id?: number };

/** One server; each socket is a session. */
export class FakeJanus {
  /** What was asked of the plugin: the handle, and the request. */
  readonly asked: [handle: number, body: Record<string, unknown>][] = [];
  /** Rooms that are there. */
  readonly rooms = new Set<unknown>([1]);
  publishers: { id: number; display: string }[] = [];
  sockets: FakeSocket[] = [];
  /** Answers nothing any more. */
  silent = false;
  #nextHandle = 10;

  connect = (): FakeSocket => {
    const socket = new FakeSocket((message) => this.#receive(socket, message));
    this.sockets.push(socket);
    setTimeout(() => socket.tell('open', {}), 1);
    return socket;
  };

  /** News for a handle. */
  say(handle: number, data: object, jsep?: object): void {
    this.sockets.at(-1)?.message({ janus: 'event', sender: handle, plugindata: { data }, ...(jsep && { jsep }) });
  }

  requests(name: string): Record<string, unknown>[] {
    return this.asked.filter(([, { request }]) => request === name).map(([, body]) => body);
  }

  #receive(socket: FakeSocket, message: Message): void {
    if (this.silent) return;
    const { transaction } = message;
    const reply = (answer: object): void => void setTimeout(() => socket.message({ transaction, ...answer }), 1);
    if (message.janus === 'create') reply({ janus: 'success', data: { id: 5 } });
    else if (message.janus === 'attach') reply({ janus: 'success', data: { id: (this.#nextHandle += 1) } });
    else if (message.janus === 'message') this.#plugin(message.handle_id ?? 0, message.body ?? {}, reply);
  }

  #plugin(handle: number, body: Record<string, unknown>, reply: (answer: object) => void): void {
    this.asked.push([handle, body]);
    const answer = (data: object, jsep?: object): void => {
      reply({ janus: 'ack' });
      reply({ janus: 'event', sender: handle, plugindata: { data }, ...(jsep && { jsep }) });
    };
    const { request, ptype, room } = body;
    if (request === 'create') {
      this.rooms.add(room);
      reply({ janus: 'success', sender: handle, plugindata: { data: { videoroom: 'created' } } });
    } else if (request === 'join' && !this.rooms.has(room)) {
      answer({ videoroom: 'event', error_code: 426, error: 'No such room' });
    } else if (request === 'join' && ptype === 'publisher') {
      answer({ videoroom: 'joined', publishers: this.publishers });
    } else if (request === 'join') {
      answer({ videoroom: 'attached', streams: [{ type: 'audio', mid: '0' }, { type: 'video', mid: '1' }] }, { type: 'offer', sdp: 'v=0' });
    } else {
      answer({ videoroom: 'event', configured: 'ok' }, request === 'publish' ? { type: 'answer', sdp: 'v=0' } : undefined);
    }
  }
}

/** A socket that the test holds the other end of. */
export class FakeSocket implements JanusSocket {
  closed = false;
  readonly sent: Message[] = [];
  readonly #heard: (message: Message) => void;
  readonly #listeners: [string, (event: never) => void][] = [];

  constructor(heard: (message: Message) => void) {
    this.#heard = heard;
  }

  send(text: string): void {
    const message = JSON.parse(text) as Message;
    this.sent.push(message);
    this.#heard(message);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.tell('close', {});
  }

  addEventListener(type: string, listener: (event: never) => void): void {
    this.#listeners.push([type, listener]);
  }

  tell(type: string, event: object): void {
    for (const [wanted, listener] of this.#listeners) if (wanted === type) listener(event as never);
  }

  message(message: object): void {
    if (!this.closed) this.tell('message', { data: JSON.stringify(message) });
  }
}
