/**
 * One session with a Janus server over its WebSocket interface: requests with answers, and events of handles. Knows nothing
 * of rooms and media.
 */

import { ConclaveError } from '../errors.ts';

/** The part of a `WebSocket` that is used. */
export interface JanusSocket {
  send(text: string): void;
  close(): void;
  addEventListener(type: 'open' | 'close', listener: () => void): void;
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void;
}

/** What a plugin says: its own data, and perhaps a description. */
export interface PluginAnswer {
  readonly data: Readonly<Record<string, unknown>>;
  readonly jsep?: RTCSessionDescriptionInit;
}

/** Who hears of a handle. */
export interface HandleEvents {
  /** The plugin says something that nobody asked for. */
  event(answer: PluginAnswer): void;
  /** Janus gave up its connection. */
  hangup(): void;
}

/** One attachment to the plugin: one connection. */
export interface Handle {
  /** Asks; rejects with `media_server` when the plugin refuses or does not answer. */
  request(body: object, jsep?: RTCSessionDescriptionInit): Promise<PluginAnswer>;
  /** A candidate that came after the description; `null`: there are no more. */
  trickle(candidate: RTCIceCandidateInit | null): void;
  /** Lets go of it. */
  detach(): void;
}

/** The plugin that rooms are made with. */
const PLUGIN = 'janus.plugin.videoroom';
/** An answer that takes longer will not come. */
const ANSWER_TIME = 10_000;
/** Janus forgets a session that is silent for a minute. */
const KEEPALIVE = 25_000;
/** Requests under way at once: a room asks for a handful for each member. */
const WAITING = 512;

interface Waiting {
  resolve(message: Message): void;
  reject(error: ConclaveError): void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** A message of Janus, as far as it is read. */
interface Message {
  readonly janus: string;
  readonly transaction?: string;
  readonly sender?: number;
  readonly data?: { readonly id?: number };
  readonly plugindata?: { readonly data?: Readonly<Record<string, unknown>> };
  readonly jsep?: RTCSessionDescriptionInit;
  readonly error?: { readonly code?: number; readonly reason?: string };
}

/** A session. */
export class JanusSession {
  readonly #socket: JanusSocket;
  readonly #closed: () => void;
  readonly #waiting = new Map<string, Waiting>();
  readonly #handles = new Map<number, HandleEvents>();
  #id: number | undefined;
  #nextTransaction = 1;
  #keepalive: ReturnType<typeof setInterval> | undefined;
  #over = false;

  private constructor(socket: JanusSocket, closed: () => void) {
    this.#socket = socket;
    this.#closed = closed;
    socket.addEventListener('message', ({ data }) => this.#receive(data));
    socket.addEventListener('close', () => this.#end());
  }

  /** Opens one on a socket that is being connected. `closed` is called once, when it is gone by other hands than {@link close}. */
  static async open(socket: JanusSocket, closed: () => void): Promise<JanusSession> {
    const session = new JanusSession(socket, closed);
    const timer = setTimeout(() => socket.close(), ANSWER_TIME);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener('open', resolve);
      socket.addEventListener('close', () => reject(new ConclaveError('media_server', { message: 'The media server cannot be reached.' })));
    }).finally(() => clearTimeout(timer));
    session.#id = (await session.#ask({ janus: 'create' })).data?.id;
    session.#keepalive = setInterval(() => session.#send({ janus: 'keepalive' }), KEEPALIVE);
    return session;
  }

  /** Attaches to the plugin. */
  async attach(events: HandleEvents): Promise<Handle> {
    const { data } = await this.#ask({ janus: 'attach', plugin: PLUGIN });
    const id = data?.id;
    if (id === undefined) throw new ConclaveError('media_server');
    this.#handles.set(id, events);
    return {
      request: async (body, jsep) => readAnswer(await this.#ask({ janus: 'message', handle_id: id, body, ...(jsep && { jsep }) })),
      trickle: (candidate) => this.#send({ janus: 'trickle', handle_id: id, candidate: candidate ?? { completed: true } }),
      detach: () => {
        this.#handles.delete(id);
        this.#send({ janus: 'detach', handle_id: id });
      },
    };
  }

  /** Ends it, with everything that is attached. */
  close(): void {
    if (this.#over) return;
    this.#send({ janus: 'destroy' });
    this.#over = true;
    this.#tidy();
    this.#socket.close();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#tidy();
    this.#closed();
  }

  #tidy(): void {
    clearInterval(this.#keepalive);
    this.#handles.clear();
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new ConclaveError('media_server', { message: 'The connection to the media server is gone.' }));
    }
    this.#waiting.clear();
  }

  #ask(message: object): Promise<Message> {
    if (this.#over || this.#waiting.size >= WAITING) return Promise.reject(new ConclaveError('media_server'));
    return new Promise((resolve, reject) => {
      const transaction = this.#send(message);
      const timer = setTimeout(() => {
        this.#waiting.delete(transaction);
        reject(new ConclaveError('media_server', { message: 'The media server does not answer.' }));
      }, ANSWER_TIME);
      this.#waiting.set(transaction, { resolve, reject, timer });
    });
  }

  #send(message: object): string {
    const transaction = String(this.#nextTransaction);
    this.#nextTransaction += 1;
    if (!this.#over) this.#socket.send(JSON.stringify({ ...message, transaction, ...(this.#id !== undefined && { session_id: this.#id }) }));
    return transaction;
  }

  #receive(text: unknown): void {
    const message = readMessage(text);
    if (!message || this.#over) return;
    switch (message.janus) {
      case 'success':
      case 'error':
        this.#answer(message);
        break;
      case 'event':
        if (!this.#answer(message)) this.#tell(message, (events) => events.event({ data: message.plugindata?.data ?? {}, ...(message.jsep && { jsep: message.jsep }) }));
        break;
      case 'hangup':
      case 'detached':
        this.#tell(message, (events) => events.hangup());
        break;
      case 'timeout':
        this.#socket.close();
        break;
      default:
        // `ack` says that an answer is under way; the rest is news of networks.
        break;
    }
  }

  #answer(message: Message): boolean {
    const waiting = this.#waiting.get(message.transaction ?? '');
    if (!waiting) return false;
    this.#waiting.delete(message.transaction ?? '');
    clearTimeout(waiting.timer);
    if (message.janus === 'error') waiting.reject(refusal(message.error?.reason, message.error?.code));
    else waiting.resolve(message);
    return true;
  }

  #tell({ sender }: Message, tell: (events: HandleEvents) => void): void {
    const events = this.#handles.get(sender ?? -1);
    if (events) tell(events);
  }
}

/** An error of Janus or its plugin; `cause` is its number. */
function refusal(reason: unknown, code: unknown): ConclaveError {
  return new ConclaveError('media_server', { message: `The media server refused: ${String(reason ?? 'no reason given')}`, cause: code });
}

function readAnswer({ plugindata, jsep }: Message): PluginAnswer {
  const data = plugindata?.data ?? {};
  if (data['error_code'] !== undefined) throw refusal(data['error'], data['error_code']);
  return { data, ...(jsep && { jsep }) };
}

function readMessage(text: unknown): Message | undefined {
  try {
    const message: unknown = JSON.parse(String(text));
    return typeof message === 'object' && message !== null && typeof Reflect.get(message, 'janus') === 'string' ? (message as Message) : undefined;
  } catch {
    return undefined;
  }
}
