import { describe, expect, test } from 'vitest';

import type { Core, CoreOutput } from './core.ts';
import { Host } from './host.ts';
import type { SocketEvents } from './line.ts';
import type { FromWorker } from './protocol.ts';
import type { EncodedFrame, Transformer } from './transforms.ts';

const CODEC = 'video/VP8';
const profile = { call: 'demo', user: 'Ana', name: 'test', token: 't', renewable: true };

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
  needsToken(text: string): boolean {
    return text === 'challenge of a restarted relay';
  }
  setToken(token: string): void {
    this.calls.push(`token ${token}`);
  }
  command(now: number, json: string): string {
    return this.#answer(`command ${now} ${json}`);
  }
  timeout(now: number): string {
    this.at = undefined;
    return this.#answer(`timeout ${now}`);
  }
  disconnected(now: number, code: number): string {
    return this.#answer(`disconnected ${now} ${code}`);
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
  release(): [number, Uint8Array | null | undefined][] {
    if (!this.hasKey) return [];
    const never = new Map([[0xee, undefined], [0xdd, null]]);
    return this.#held.splice(0).map(([ticket, frame]) => [ticket, never.has(frame[0] ?? 0) ? never.get(frame[0] ?? 0) : frame.map((byte) => byte - 1)]);
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
  timers: { at: number; callback: () => void }[] = [];
  urls: string[] = [];
  refuse: Error | undefined;
  readonly host = new Host({
    makeCore: async () => {
      if (this.refuse) throw this.refuse;
      return this.core;
    },
    connect: (url, events) => {
      this.urls.push(url);
      this.socket = events;
      return { send: (text) => this.sent.push(text), close: () => (this.closed = true), bufferedAmount: 0 };
    },
    post: (message) => this.posted.push(message),
    now: () => this.time,
    after: (milliseconds, callback) => {
      const timer = { at: this.time + milliseconds, callback };
      this.timers.push(timer);
      return () => (this.timers = this.timers.filter((other) => other !== timer));
    },
    random: () => 1,
  });

  /** Lets time pass, with what falls due in it. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.time + milliseconds;
    for (;;) {
      const [due] = this.timers.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at);
      if (!due) break;
      this.timers = this.timers.filter((other) => other !== due);
      this.time = due.at;
      due.callback();
      await tick();
    }
    this.time = end;
  }

  async join(): Promise<this> {
    this.host.handle({ type: 'join', urls: ['ws://relay', 'ws://other'], profile });
    await tick();
    return this;
  }

  /** Joins, and the first connection stands. */
  async open(): Promise<this> {
    await this.join();
    this.socket?.opened();
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
    const bench = await new Bench().open();
    bench.core.at = 250;
    bench.socket?.text('x');
    await bench.pass(249);
    expect(bench.core.calls.at(-1)).toBe('received 0 x');
    await bench.pass(1);
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

  test('a connection that is gone is told to the core, and another is made when it wants one', async () => {
    const bench = await new Bench().open();
    bench.core.outputs = [{ event: { link: 'down' } }, { connect: { fresh: false } }];
    bench.socket?.closed(4017);
    expect(bench.core.calls).toEqual(['disconnected 0 4017']);
    expect(bench.posted).toEqual([{ type: 'event', event: { link: 'down' } }]);
    await bench.pass(500);
    expect(bench.urls).toEqual(['ws://relay', 'ws://relay']);
    bench.socket?.opened();
    bench.socket?.text('challenge');
    expect(bench.core.calls.at(-1)).toBe('received 500 challenge');
  });

  test('a device that joins again brings a fresh token', async () => {
    const bench = await new Bench().open();
    bench.core.outputs = [{ event: { link: 'rejoining' } }, { connect: { fresh: true } }];
    bench.socket?.text('the seat is lost');
    await bench.pass(500);
    expect(bench.posted.at(-1)).toEqual({ type: 'token', id: 1 });
    expect(bench.urls).toHaveLength(1);
    bench.host.handle({ type: 'token', id: 1, token: 'fresh' });
    await tick();
    expect([bench.core.calls.at(-1), bench.urls.length]).toEqual(['token fresh', 2]);
  });

  test('a challenge that needs a good token waits for it, and not without end', async () => {
    const bench = await new Bench().open();
    bench.socket?.text('challenge of a restarted relay');
    await bench.pass(3999);
    expect([bench.posted, bench.core.calls]).toEqual([[{ type: 'token', id: 1 }], []]);
    await bench.pass(1);
    expect(bench.core.calls).toEqual(['received 4000 challenge of a restarted relay']);
    bench.socket?.text('challenge of a restarted relay');
    bench.host.handle({ type: 'token', id: 2, token: 'fresh' });
    await tick();
    expect(bench.core.calls.slice(1)).toEqual(['token fresh', 'received 4000 challenge of a restarted relay']);
  });

  test('when no relay ever answered, that is said', async () => {
    const bench = await new Bench().join();
    bench.socket?.closed(1006);
    expect(bench.posted).toEqual([]);
    bench.socket?.closed(1006);
    expect([bench.posted, bench.urls]).toEqual([[{ type: 'unreachable' }], ['ws://relay', 'ws://other']]);
  });

  test('when the core is done and everything is said, that is told', async () => {
    const bench = await new Bench().open();
    bench.core.outputs = [{ send: 'goodbye' }, { close: true }];
    bench.host.handle({ type: 'command', id: 1, command: { leave: {} } });
    expect([bench.sent, bench.closed, bench.posted.map(({ type }) => type)]).toEqual([['goodbye'], true, ['done']]);
    bench.socket?.closed(1000);
    expect(bench.posted.at(-1)).toEqual({ type: 'closed' });
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

  test('a second copy that waited is missed by nobody', async () => {
    const bench = await new Bench().join();
    const track = new Track(bench.host, open);
    bench.core.hasKey = false;
    await track.feed([20], 'key');
    await track.feed([0xdd], 'key');
    await track.feed([30]);
    bench.core.hasKey = true;
    bench.socket?.text('the epoch');
    await tick();
    expect(track.out).toEqual([[19], [29]]);
    expect(track.keyFrameRequests).toBe(0);
  });

  test('a stream of AV1 begins with a second key frame, others do not', async () => {
    const bench = await new Bench().join();
    for (const [codec, requests] of [
      ['video/AV1', 1],
      [CODEC, 0],
    ] as const) {
      const track = new Track(bench.host, open);
      await track.feed([4], 'key', codec);
      for (let i = 0; i < 30; i += 1) await track.feed([4], 'delta', codec);
      expect(track.out.length).toBe(31);
      expect(track.keyFrameRequests).toBe(requests);
    }
  });

  test('those that waited in vain make the core ask for the key, once a second at most', async () => {
    const bench = await new Bench().open();
    const track = new Track(bench.host, open);
    const lose = async (): Promise<void> => {
      bench.core.hasKey = false;
      await track.feed([0xee]);
      bench.core.hasKey = true;
      bench.socket?.text('x');
    };
    const asked = (): number => bench.core.calls.filter((call) => call.includes('missing_key')).length;
    await lose();
    await lose();
    expect(asked()).toBe(1);
    await bench.pass(1000);
    await lose();
    expect(asked()).toBe(2);
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
