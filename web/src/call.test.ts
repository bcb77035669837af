import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { Call, type JoinStage } from './call.ts';
import { ConclaveError } from './errors.ts';
import type { Member } from './events.ts';
import type { WorkerLike } from './link.ts';
import type { FromWorker, ToWorker } from './worker/protocol.ts';

/** A worker that says what the test lets it say. */
class FakeWorker implements WorkerLike {
  readonly asked: ToWorker[] = [];
  terminated = false;
  onmessage: ((event: MessageEvent<FromWorker>) => void) | null = null;
  onerror: ((event: ErrorEvent) => void) | null = null;

  postMessage(message: ToWorker): void {
    this.asked.push(message);
  }
  terminate(): void {
    this.terminated = true;
  }
  say(message: FromWorker): void {
    this.onmessage?.({ data: message } as MessageEvent<FromWorker>);
  }
  tell(event: unknown): void {
    this.say({ type: 'event', event });
  }
  /** Answers the newest question. */
  done(failure?: unknown): void {
    const last = this.asked.at(-1);
    if (last && 'id' in last) this.say(failure === undefined ? { type: 'done', id: last.id } : { type: 'done', id: last.id, failure });
  }
}

const member = (joined: number): object => ({ seat: joined - 1, joined, role: 'member', user: `u${joined}`, name: 'n', ed25519: '' });
const epoch = (count: number, ...members: number[]): object => ({
  epoch: { epoch: [1, count], cause: 'join', lead: 1, members: members.map(member), roster: 'r', fingerprint: 'f', security_code: '1 2 3 4 5 6' },
});

let worker: FakeWorker;
let stages: JoinStage[];
let call: Call;
const renew = vi.fn(async () => 'fresh');

beforeEach(() => {
  vi.useFakeTimers();
  renew.mockClear();
  worker = new FakeWorker();
  stages = [];
  const profile = { call: 'demo', user: 'Ana', name: 'n', token: 't' };
  call = new Call({ worker, urls: ['ws://relay'], profile, renew, onProgress: (stage) => stages.push(stage) });
});

afterEach(() => {
  vi.useRealTimers();
});

function join(): void {
  worker.tell({ seated: { seat: 1, joined: 2, members: [member(1), member(2)], ice_servers: [{ urls: ['stun:s'] }] } });
  worker.tell(epoch(1, 1, 2));
}

describe('joining', () => {
  test('is done with the first key, not with the seat', async () => {
    worker.tell({ seated: { seat: 1, joined: 2, members: [member(1), member(2)], ice_servers: [] } });
    const early = await Promise.race([call.ready.then(() => 'ready'), Promise.resolve('waiting')]);
    expect([early, stages]).toEqual(['waiting', ['connecting', 'waiting_for_key']]);
    worker.tell(epoch(1, 1, 2));
    await call.ready;
    expect([call.me?.user, call.lead?.user, call.securityCode]).toEqual(['u2', 'u1', '1 2 3 4 5 6']);
  });

  test('fails with the reason of the relay', async () => {
    worker.tell({ ended: { closed: 'call_full' } });
    await expect(call.ready).rejects.toMatchObject({ code: 'call_full', retryable: true });
    expect(worker.terminated).toBe(true);
  });

  test('a relay that was never reached is not one that went away', async () => {
    worker.say({ type: 'unreachable' });
    await expect(call.ready).rejects.toMatchObject({ code: 'unreachable' });
  });

  test('a worker that does not load is said to be lost', async () => {
    worker.onerror?.({ message: '', preventDefault: () => {} } as ErrorEvent);
    await expect(call.ready).rejects.toMatchObject({ code: 'worker_lost', message: 'The worker stopped: it did not load.' });
  });
});

describe('in a call', () => {
  beforeEach(join);

  test('members come and go, and each epoch says what it changed', () => {
    const changes: string[] = [];
    call.on('epoch', ({ epoch: [, count], added, removed }) => changes.push(`${count} +${added.map((m) => m.joined)} -${removed.map((m) => m.joined)}`));
    call.on('left', ({ member: who, reason }) => changes.push(`${who} ${reason}`));
    worker.tell({ member_arrived: member(3) });
    expect(call.members.map(({ joined, committed }) => [joined, committed])).toEqual([[1, true], [2, true], [3, false]]);
    worker.tell(epoch(2, 1, 2, 3));
    worker.tell({ member_left: { joined: 3, reason: 'closed' } });
    worker.tell(epoch(3, 1, 2));
    expect(changes).toEqual(['2 +3 -', '3 closed', '3 + -3']);
  });

  test('connection data is not an application message', () => {
    const heard: string[] = [];
    call.on('message', ({ payload }) => heard.push(`message ${new TextDecoder().decode(payload)}`));
    call.on('signal', ({ payload }) => heard.push(`signal ${new TextDecoder().decode(payload)}`));
    void call.signal(new TextEncoder().encode('[]'), 1);
    const sent = worker.asked.at(-1);
    const payload = sent?.type === 'command' && 'send' in sent.command ? sent.command.send.payload : '';
    worker.tell({ message: { from: 1, direct: true, payload } });
    worker.tell({ message: { from: 1, direct: false, payload: btoa('hello').replaceAll('=', '') } });
    expect(heard).toEqual(['signal []', 'message hello']);
  });

  test('a command is done when the worker says so, or refused with its reason', async () => {
    const rotated = call.rotate();
    worker.done();
    await expect(rotated).resolves.toBeUndefined();
    const removed = call.remove(9);
    worker.done({ command_failed: { kind: { unknown_member: 9 }, message: 'member 9 is not in the call' } });
    await expect(removed).rejects.toMatchObject({ code: 'unknown_member', member: 9 });
  });

  test('a worker that owes an answer too long is gone, and the call with it', async () => {
    const ended: string[] = [];
    call.on('ended', ({ code }) => ended.push(code));
    const stats = call.stats();
    vi.advanceTimersByTime(5000);
    await expect(stats).rejects.toMatchObject({ code: 'worker_lost' });
    expect([ended, worker.terminated]).toEqual([['worker_lost'], true]);
    await expect(call.send('x')).rejects.toMatchObject({ code: 'worker_lost' });
  });

  test('leaving lets the goodbye out before the worker ends', async () => {
    const left = call.leave();
    expect(worker.asked.at(-1)).toMatchObject({ command: { leave: {} } });
    worker.tell({ ended: 'left' });
    await left;
    expect([call.ended?.code, worker.terminated]).toEqual(['left', false]);
    worker.say({ type: 'closed' });
    expect(worker.terminated).toBe(true);
  });

  test('a connection that drops is told, and nothing else changes', () => {
    const told: string[] = [];
    call.on('link', (state) => told.push(`${state} ${call.link}`));
    call.on('members', (members) => told.push(members.map(({ joined, away }) => `${joined}${away ? ` ${away}` : ''}`).join(', ')));
    worker.tell({ link: 'down' });
    worker.tell({ member_away: { joined: 1, reason: 'dropped' } });
    worker.tell({ link: 'up' });
    worker.tell({ member_back: 1 });
    expect(told).toEqual(['down down', '1 dropped, 2', 'up up', '1, 2']);
    expect([call.me?.joined, call.epoch?.epoch, call.ended]).toEqual([2, [1, 1], undefined]);
  });

  test('a member who shows that they are there is confirmed, and everybody is told', () => {
    const told: string[] = [];
    const marks = (members: readonly Member[]): string => members.map(({ joined, confirmed }) => `${joined}${confirmed ? '' : '?'}`).join(', ');
    expect(marks(call.members)).toBe('1?, 2');
    call.on('confirmed', (who) => told.push(`confirmed ${who}`));
    call.on('members', (members) => told.push(marks(members)));
    worker.tell({ member_confirmed: 1 });
    worker.tell(epoch(2, 1, 2, 3));
    expect(told).toEqual(['confirmed 1', '1, 2', '1, 2, 3?']);
    expect(marks(call.epoch?.members ?? [])).toBe('1, 2, 3?');
  });

  test('who joins again is somebody new, among people who are listed anew', () => {
    const states: string[] = [];
    call.on('link', (state) => states.push(state));
    worker.tell({ active: [1, 1] });
    worker.tell({ link: 'down' });
    worker.tell({ link: 'rejoining' });
    expect([call.active, call.members.length]).toEqual([undefined, 2]);
    // A relay that was restarted counts from the beginning.
    worker.tell({ seated: { seat: 0, joined: 1, members: [member(1)], ice_servers: [] } });
    expect([call.me?.joined, call.members.map(({ joined, committed }) => [joined, committed])]).toEqual([1, [[1, false]]]);
    const added: number[] = [];
    call.on('epoch', (info) => added.push(...info.added.map(({ joined }) => joined)));
    worker.tell(epoch(0, 1, 2));
    expect([states, added]).toEqual([['down', 'rejoining', 'up'], [1, 2]]);
  });

  test('a missing key and a pause are states with their cause', () => {
    const told: unknown[] = [];
    call.on('key_missing', (reason) => told.push(reason));
    call.on('paused', (reason) => told.push(reason));
    call.on('key_found', () => told.push('found'));
    call.on('resumed', () => told.push('resumed'));
    worker.tell({ key_missing: 'withheld' });
    worker.tell({ paused: 'behind' });
    expect([call.keyMissing, call.paused]).toEqual(['withheld', 'behind']);
    worker.tell('key_found');
    worker.tell('resumed');
    expect([call.keyMissing, call.paused, told]).toEqual([undefined, undefined, ['withheld', 'behind', 'found', 'resumed']]);
  });

  test('the worker is given a fresh token when it asks for one, or told that there is none', async () => {
    expect(worker.asked[0]).toMatchObject({ type: 'join', urls: ['ws://relay'], profile: { renewable: true } });
    worker.say({ type: 'token', id: 1 });
    await vi.advanceTimersByTimeAsync(0);
    expect(worker.asked.at(-1)).toEqual({ type: 'token', id: 1, token: 'fresh' });
    renew.mockRejectedValueOnce(new Error('logged out'));
    worker.say({ type: 'token', id: 2 });
    await vi.advanceTimersByTimeAsync(0);
    expect(worker.asked.at(-1)).toEqual({ type: 'token', id: 2 });
  });

  test('a good moment to try is passed on', () => {
    call.hurry();
    expect(worker.asked.at(-1)).toEqual({ type: 'hurry' });
  });

  test('after the end nothing can be attached any more', () => {
    worker.tell({ ended: 'removed' });
    expect(() => call.createPeerConnection()).toThrow(ConclaveError);
    expect(() => call.unprotect({} as RTCRtpReceiver, 1)).toThrow(expect.objectContaining({ code: 'removed' }));
  });

  test('media of somebody who was never here cannot be opened', () => {
    expect(() => call.unprotect({} as RTCRtpReceiver, 42)).toThrow(expect.objectContaining({ code: 'unknown_member', member: 42 }));
  });

  test('a listener that throws keeps nobody else from hearing', () => {
    const heard: number[] = [];
    const reported: unknown[] = [];
    vi.stubGlobal('reportError', (error: unknown) => reported.push(error));
    call.on('closing', () => {
      throw new Error('mine');
    });
    const stop = call.on('closing', (after) => heard.push(after));
    worker.tell({ closing: 1000 });
    stop();
    worker.tell({ closing: 2000 });
    expect([heard, reported.length]).toEqual([[1000], 2]);
    vi.unstubAllGlobals();
  });
});

test('what became of a member’s frames is told at most once a second, while there is something to tell', async () => {
  vi.stubGlobal('RTCRtpScriptTransform', class {});
  join();
  const told: number[] = [];
  call.on('media_stats', ({ member: from, opened }) => told.push(from, opened));
  const asked = (): number => worker.asked.filter(({ type }) => type === 'stats').length;
  const answer = async (opened: number): Promise<void> => {
    const last = worker.asked.at(-1);
    const seat = { opened, undecryptable: 0, held: 0, duplicates: 0, late: 0, expired: 0, refused: 0 };
    if (last?.type === 'stats') worker.say({ type: 'stats', id: last.id, stats: { now: 0, transforms: [], core: { seats: { 0: seat } } } });
    await vi.advanceTimersByTimeAsync(0);
  };
  await vi.advanceTimersByTimeAsync(3000);
  expect(asked()).toBe(0);
  for (const receiver of [{}, {}]) call.unprotect(receiver as RTCRtpReceiver, 1);
  await vi.advanceTimersByTimeAsync(1000);
  await answer(5);
  await vi.advanceTimersByTimeAsync(999);
  expect([asked(), told]).toEqual([1, [1, 5]]);
  await vi.advanceTimersByTimeAsync(1);
  await answer(5);
  await vi.advanceTimersByTimeAsync(1000);
  await answer(9);
  expect([asked(), told]).toEqual([3, [1, 5, 1, 9]]);
  call.abandon(new ConclaveError('aborted'));
  await vi.advanceTimersByTimeAsync(5000);
  expect(asked()).toBe(3);
  vi.unstubAllGlobals();
});
