import { describe, expect, test } from 'vitest';

import type { Core, CoreOutput } from './core.ts';
import { Host, type SocketEvents } from './host.ts';
import type { FromWorker } from './protocol.ts';
import type { EncodedFrame, Transformer } from './transforms.ts';

const CODEC = 'video/VP8';
const profile = { call: 'demo', user: 'Ana', name: 'test', token: 't' };

/** A core whose cryptography is: add one to each byte. What it returns is set by the test. */
class ScriptedCore implements Core {
  outputs: CoreOutput[] = [];
  at: number | undefined;
  hasKey = true;
  readonly calls: string[] = [];
  readonly #held: [number, Uint8Array][] = [];

  received(now: number, text: string): string {
    return this.#answer(`received ${now} ${text}`);
  }
  command(now: number, json: string): string {
    return this.#answer(`command ${now} ${json}`);
  }
  timeout(now: number): string {
    this.at = undefined;
    return this.#answer(`timeout ${now}`);
  }
  disconnected(now: number): string {
    return this.#answer(`disconnected ${now}`);
  }
  nextTimeout(): number | undefined {
    return this.at;
  }
  seal(codec: string, frame: Uint8Array): Uint8Array | undefined {
    return this.hasKey && codec === CODEC ? frame.map((byte) => byte + 1) : undefined;
  }
  open(_: number, seat: number, __: string, frame: Uint8Array, ticket: number): Uint8Array | undefined | null {
    if (!this.hasKey) {
      this.#held.push([ticket, frame]);
      return null;
    }
    return frame[0] === seat ? frame.map((byte) => byte - 1) : undefined;
  }
  release(): [number, Uint8Array | undefined][] {
    if (!this.hasKey) return [];
    return this.#held.splice(0).map(([ticket, frame]) => [ticket, frame[0] === 0xee ? undefined : frame.map((byte) => byte - 1)]);
  }
  stats(): string {
    return '{"seats":{"4":{"opened":1}}}';
  }
  #answer(call: string): string {
    this.calls.push(call);
    return JSON.stringify(this.outputs.splice(0));
  }
}

class Bench {
  readonly core = new ScriptedCore();
  readonly posted: FromWorker[] = [];
  readonly sent: string[] = [];
  closed = false;
  socket: SocketEvents | undefined;
  time = 0;
  timer: { at: number; callback: () => void } | undefined;
  refuse: Error | undefined;
  readonly host = new Host({
    makeCore: async () => {
      if (this.refuse) throw this.refuse;
      return this.core;
    },
    connect: (_, events) => {
      this.socket = events;
      return { send: (text) => this.sent.push(text), close: () => (this.closed = true), bufferedAmount: 0 };
    },
    post: (message) => this.posted.push(message),
    now: () => this.time,
    after: (milliseconds, callback) => {
      this.timer = { at: this.time + milliseconds, callback };
      return () => (this.timer = undefined);
    },
  });

  async join(): Promise<this> {
    this.host.handle({ type: 'join', url: 'ws://relay', profile });
    await tick();
    return this;
  }
}

const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

describe('host', () => {
  test('carries out what the core wants, in order', async () => {
    const bench = await new Bench().join();
    bench.core.outputs = [{ send: 'a' }, { event: { active: [0, 0] } }, { send: 'b' }, { close: true }];
    bench.socket?.text('challenge');
    expect(bench.core.calls).toEqual(['received 0 challenge']);
    expect(bench.sent).toEqual(['a', 'b']);
    expect(bench.posted).toEqual([{ type: 'event', event: { active: [0, 0] } }]);
    expect(bench.closed).toBe(true);
  });

  test('wakes the core when it asked for it', async () => {
    const bench = await new Bench().join();
    bench.core.at = 250;
    bench.socket?.text('x');
    expect(bench.timer?.at).toBe(250);
    bench.time = 250;
    bench.timer?.callback();
    expect(bench.core.calls.at(-1)).toBe('timeout 250');
  });

  test('a refused command is the answer to that command, and no event', async () => {
    const bench = await new Bench().join();
    const failure = { command_failed: { kind: 'no_key', message: 'none' } };
    bench.core.outputs = [{ event: failure }];
    bench.host.handle({ type: 'command', id: 3, command: { rotate: {} } });
    bench.host.handle({ type: 'command', id: 4, command: { leave: {} } });
    expect(bench.posted).toEqual([{ type: 'done', id: 3, failure }, { type: 'done', id: 4 }]);
  });

  test('a closed connection is told with its code, and to the core', async () => {
    const bench = await new Bench().join();
    bench.socket?.opened();
    bench.socket?.closed(4012);
    expect(bench.posted).toEqual([{ type: 'closed', code: 4012, opened: true }]);
    expect(bench.core.calls).toEqual(['disconnected 0']);
  });

  test('a profile that breaks a rule, and a core that breaks, end the worker with a typed reason', async () => {
    const bench = new Bench();
    bench.refuse = new Error('a call name has 1 to 64 characters');
    await bench.join();
    expect(bench.posted).toEqual([{ type: 'failed', code: 'bad_options', message: 'a call name has 1 to 64 characters' }]);

    const broken = await new Bench().join();
    broken.core.received = () => {
      throw new Error('unreachable');
    };
    broken.socket?.text('x');
    expect(broken.posted).toEqual([{ type: 'failed', code: 'internal', message: 'The core stopped: unreachable.' }]);
    expect(broken.closed).toBe(true);
    // A core in an unknown state seals nothing more.
    const track = new Track(broken.host, { kind: 'seal', id: 1 });
    await track.feed([1]);
    expect(track.out).toEqual([]);
  });
});

/** One track through the worker. */
class Track {
  readonly out: number[][] = [];
  keyFrameRequests = 0;
  #controller: ReadableStreamDefaultController<EncodedFrame> | undefined;

  constructor(host: Host, options: Transformer['options']) {
    host.attach({
      options,
      readable: new ReadableStream({ start: (controller) => void (this.#controller = controller) }),
      writable: new WritableStream({ write: (frame) => void this.out.push([...new Uint8Array(frame.data)]) }),
      sendKeyFrameRequest: async () => {
        this.keyFrameRequests += 1;
      },
    });
  }

  async feed(bytes: readonly number[], type: string = 'delta', mimeType: string | null = CODEC): Promise<void> {
    const getMetadata = (): { mimeType?: string } => (mimeType === null ? {} : { mimeType });
    this.#controller?.enqueue({ data: Uint8Array.from(bytes).buffer, type, getMetadata });
    await tick();
  }

  async end(): Promise<void> {
    this.#controller?.close();
    await tick();
  }
}

describe('frames', () => {
  const open = { kind: 'open', id: 2, joined: 9, seat: 4 } as const;

  test('go out sealed, or not at all', async () => {
    const bench = await new Bench().join();
    const track = new Track(bench.host, { kind: 'seal', id: 1 });
    await track.feed([1, 2]);
    bench.core.hasKey = false;
    await track.feed([3]);
    bench.core.hasKey = true;
    await track.feed([4], 'delta', 'video/VP9');
    await track.feed([5], 'delta', null);
    await track.feed([]);
    expect(track.out).toEqual([[2, 3]]);
    bench.host.handle({ type: 'stats', id: 1 });
    expect(bench.posted.at(-1)).toMatchObject({
      stats: { transforms: [{ id: 1, kind: 'seal', framesIn: 4, framesOut: 1, bytesOut: 2, dropped: 3 }], core: { seats: { 4: { opened: 1 } } } },
    });
  });

  test('before there is a core, nothing passes', async () => {
    const bench = new Bench();
    const [out, into] = [new Track(bench.host, { kind: 'seal', id: 1 }), new Track(bench.host, open)];
    await out.feed([1]);
    await into.feed([4]);
    expect([out.out, into.out]).toEqual([[], []]);
  });

  test('come in opened, or not at all', async () => {
    const bench = await new Bench().join();
    const track = new Track(bench.host, open);
    await track.feed([4, 9]);
    await track.feed([5, 9]);
    expect(track.out).toEqual([[3, 8]]);
  });

  test('that wait for their key come in order once it is there', async () => {
    const bench = await new Bench().join();
    const track = new Track(bench.host, open);
    bench.core.hasKey = false;
    for (const byte of [10, 20, 30]) await track.feed([byte], 'key');
    expect(track.out).toEqual([]);
    bench.host.handle({ type: 'stats', id: 1 });
    expect(bench.posted.at(-1)).toMatchObject({ stats: { transforms: [{ waiting: 3, stuck: true }] } });
    bench.core.hasKey = true;
    bench.socket?.text('the epoch');
    await tick();
    expect(track.out).toEqual([[9], [19], [29]]);
    expect(track.keyFrameRequests).toBe(0);
  });

  test('one that waited in vain leaves a gap, and a key frame is asked for once', async () => {
    const bench = await new Bench().join();
    const track = new Track(bench.host, open);
    bench.core.hasKey = false;
    await track.feed([0xee], 'key');
    await track.feed([20]);
    await track.feed([30]);
    bench.core.hasKey = true;
    bench.socket?.text('the epoch');
    await tick();
    expect(track.out).toEqual([[19], [29]]);
    expect(track.keyFrameRequests).toBe(1);
  });

  test('second copies of old packets ask for nothing', async () => {
    const bench = await new Bench().join();
    const track = new Track(bench.host, open);
    await track.feed([4]);
    await track.feed([5]);
    await track.feed([4]);
    expect([track.out.length, track.keyFrameRequests]).toEqual([2, 0]);
  });

  test('a track that ended is counted no more', async () => {
    const bench = await new Bench().join();
    const track = new Track(bench.host, open);
    await track.feed([4]);
    await track.end();
    bench.host.handle({ type: 'stats', id: 1 });
    expect(bench.posted.at(-1)).toMatchObject({ stats: { transforms: [] } });
  });
});
