import { describe, expect, test } from 'vitest';

import { LONGEST_FOR_A_SEAT, LONGEST_FOR_KEYS } from './backoff.ts';
import { Line, type SocketEvents } from './line.ts';

/** Sockets that do what the test says, and a clock that stands still until it is moved. */
class Bench {
  time = 0;
  readonly tries: { url: string; at: number; events: SocketEvents; closed: boolean }[] = [];
  readonly told: string[] = [];
  #timers: { at: number; callback: () => void }[] = [];
  readonly line: Line;

  constructor(...urls: string[]) {
    const world = {
      connect: (url: string, events: SocketEvents) => {
        const made = { url, at: this.time, events, closed: false };
        this.tries.push(made);
        return {
          send: (text: string) => void this.told.push(`sent ${text}`),
          close: () => {
            made.closed = true;
          },
          bufferedAmount: 0,
        };
      },
      now: () => this.time,
      after: (milliseconds: number, callback: () => void) => {
        const timer = { at: this.time + milliseconds, callback };
        this.#timers.push(timer);
        return () => void (this.#timers = this.#timers.filter((other) => other !== timer));
      },
      // The longest pause that may be drawn.
      random: () => 1,
    };
    this.line = new Line(world, urls, {
      text: (text) => void this.told.push(text),
      lost: (code) => void this.told.push(`lost ${code}`),
      unreachable: () => void this.told.push('unreachable'),
      closed: () => void this.told.push('closed'),
    });
  }

  get last(): { url: string; at: number; events: SocketEvents; closed: boolean } {
    const last = this.tries.at(-1);
    if (!last) throw new Error('nothing was tried');
    return last;
  }

  async pass(milliseconds: number): Promise<void> {
    const end = this.time + milliseconds;
    for (;;) {
      const [due] = this.#timers.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at);
      if (!due) break;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.time = due.at;
      due.callback();
      await Promise.resolve();
      await Promise.resolve();
    }
    this.time = end;
  }

  /** A connection that stood for so long is lost. */
  async lose(after: number): Promise<void> {
    this.last.events.opened();
    await this.pass(after);
    this.last.events.closed(1006);
    this.line.again({ fresh: false });
  }
}

describe('line', () => {
  test('goes round all addresses before it gives up on the first connection', () => {
    const bench = new Bench('a', 'b');
    bench.line.open();
    bench.last.events.closed(1006);
    bench.last.events.closed(1006);
    expect([bench.tries.map(({ url }) => url), bench.told]).toEqual([['a', 'b'], ['unreachable']]);
  });

  test('never gives up on one that stood, and its pauses grow to what a seat can wait', async () => {
    const bench = new Bench('a', 'b');
    bench.line.open();
    await bench.lose(20_000);
    expect(bench.told).toEqual(['lost 1006']);
    const began = bench.time;
    const pauses: number[] = [];
    while (bench.time - began < 120_000) {
      const from = bench.time;
      const { length } = bench.tries;
      while (bench.tries.length === length) await bench.pass(50);
      pauses.push(bench.last.at - from);
      bench.last.events.closed(1006);
    }
    expect(pauses.slice(0, 4)).toEqual([500, 1000, LONGEST_FOR_A_SEAT, LONGEST_FOR_A_SEAT]);
    expect(pauses.at(-1)).toBe(LONGEST_FOR_KEYS);
    // The relay that has the seat is tried first, then they take turns.
    expect(bench.tries.slice(1, 5).map(({ url }) => url)).toEqual(['a', 'b', 'a', 'b']);
  });

  test('a connection that breaks at once does not make the pauses short again', async () => {
    const bench = new Bench('a');
    bench.line.open();
    await bench.lose(100);
    await bench.pass(500);
    await bench.lose(100);
    const from = bench.time;
    await bench.pass(5000);
    expect(bench.last.at - from).toBe(1000);
    await bench.lose(20_000);
    const again = bench.time;
    await bench.pass(5000);
    expect(bench.last.at - again).toBe(500);
  });

  test('who has lost the seat joins again soon, however long it was waited for', async () => {
    const bench = new Bench('a');
    bench.line.open();
    await bench.lose(20_000);
    const began = bench.time;
    while (bench.time - began < 120_000) {
      const { length } = bench.tries;
      while (bench.tries.length === length) await bench.pass(50);
      bench.last.events.closed(1006);
    }
    await bench.pass(LONGEST_FOR_KEYS);
    bench.last.events.opened();
    for (const pause of [LONGEST_FOR_A_SEAT, 2 * LONGEST_FOR_A_SEAT]) {
      const from = bench.time;
      bench.line.again({ fresh: true });
      await bench.pass(pause);
      expect(bench.last.at - from).toBe(pause);
      bench.last.events.opened();
    }
  });

  test('a try that hangs is given up, and what it says later is not heard', async () => {
    const bench = new Bench('a');
    bench.line.open();
    await bench.lose(20_000);
    await bench.pass(500);
    const stuck = bench.last;
    await bench.pass(3000);
    expect(stuck.closed).toBe(true);
    stuck.events.closed(1006);
    await bench.pass(1000);
    expect(bench.last).not.toBe(stuck);
    stuck.events.opened();
    stuck.events.text('ghost');
    bench.last.events.opened();
    bench.last.events.text('here');
    expect(bench.told).toEqual(['lost 1006', 'here']);
  });

  test('a good moment ends a pause at once', async () => {
    const bench = new Bench('a');
    bench.line.open();
    await bench.lose(20_000);
    bench.line.hurry();
    await bench.pass(0);
    expect([bench.tries.length, bench.last.at]).toEqual([2, bench.time]);
    bench.line.hurry();
    expect(bench.tries).toHaveLength(2);
  });

  test('a relay that goes away is left alone for as long as it asks, unless there is another', async () => {
    for (const [urls, pause, next] of [[['a'], 4000, 'a'], [['a', 'b'], 500, 'b']] as const) {
      const bench = new Bench(...urls);
      bench.line.open();
      bench.line.leaveAlone(4000);
      await bench.lose(20_000);
      const from = bench.time;
      await bench.pass(10_000);
      expect([bench.tries[1]?.url, (bench.tries[1]?.at ?? 0) - from]).toEqual([next, pause]);
    }
  });

  test('what is to be done before a connection is waited for', async () => {
    const bench = new Bench('a');
    bench.line.open();
    bench.last.events.opened();
    let ready = (): void => {};
    bench.line.again({ fresh: true, prepare: () => new Promise((resolve) => (ready = resolve)) });
    expect(bench.tries[0]?.closed).toBe(true);
    await bench.pass(10_000);
    expect(bench.tries).toHaveLength(1);
    ready();
    await new Promise((resolve) => setTimeout(resolve));
    expect(bench.tries).toHaveLength(2);
  });

  test('a line that was closed stays closed', async () => {
    const bench = new Bench('a');
    bench.line.open();
    await bench.lose(20_000);
    bench.line.close();
    await bench.pass(60_000);
    expect([bench.tries.length, bench.told]).toEqual([1, ['lost 1006', 'closed']]);
  });
});
