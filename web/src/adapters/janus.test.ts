import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { Call } from '../call.ts';
import { Emitter } from '../emitter.ts';
import type { ConclaveError } from '../errors.ts';
import type { Member } from '../events.ts';
import { JanusRoom, roomOf } from './janus.ts';
import { FakeJanus } from './testing/fake_janus.ts';

/** A connection that does nothing but change its state when the test says so. */
class FakeConnection {
  onconnectionstatechange: (() => void) | undefined;
  connectionState = 'new';
  signalingState = 'stable';
  iceGatheringState = 'complete';
  localDescription = { type: 'offer', sdp: 'v=0\r\n' };
  async setLocalDescription(): Promise<void> {}
  async setRemoteDescription(): Promise<void> {}
  addTransceiver(): object {
    return { sender: { replaceTrack: async () => {} }, setCodecPreferences() {} };
  }
  close(): void {
    this.signalingState = this.connectionState = 'closed';
  }
  becomes(state: string): void {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
}

const member = (joined: number): Member => ({ seat: joined, joined, role: 'member', user: `u${joined}`, name: 'n', ed25519: '', committed: true, confirmed: true });

/** The part of a call that a room uses, with this device as member 1. */
class FakeCall extends Emitter<Record<string, unknown>> {
  me = member(1);
  active: readonly number[] | undefined = [1, 1];
  members = [member(1), member(2)];
  readonly connections: FakeConnection[] = [];
  readonly opened: number[] = [];
  readonly said: string[] = [];
  createPeerConnection(): FakeConnection {
    this.connections.push(new FakeConnection());
    return this.connections.at(-1) as FakeConnection;
  }
  protect(): void {}
  unprotect(_connection: object, joined: number): void {
    this.opened.push(joined);
  }
  async signal(payload: Uint8Array, to?: number): Promise<void> {
    this.said.push(`${to ?? 'all'} ${new TextDecoder().decode(payload)}`);
  }
  tell(name: string, event: unknown): void {
    this.emit(name, event);
  }
}

let call: FakeCall;
let janus: FakeJanus;
let room: JanusRoom;
let errors: string[];
let states: string[];

async function enter(more: object = {}): Promise<void> {
  room = new JanusRoom(call as unknown as Call, { url: 'ws://janus', room: 1, connect: janus.connect, ...more });
  room.on('server', (state: string) => states.push(state));
  room.on('error', (error: ConclaveError) => errors.push(error.message));
  await vi.advanceTimersByTimeAsync(100);
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('MediaStream', class { addTrack(): void {} });
  vi.stubGlobal('RTCRtpReceiver', { getCapabilities: () => ({ codecs: [] }) });
  [call, janus, errors, states] = [new FakeCall(), new FakeJanus(), [], []];
});

afterEach(() => {
  room.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const peers = (): number[] => [...room.peers.keys()];

test('joins under its order number, publishes as encrypted, and takes what members publish', async () => {
  janus.publishers = [{ id: 70, display: 'conclave 2' }];
  await enter();
  expect(janus.asked.map(([, { request, display, streams }]) => [request, display ?? streams])).toEqual([
    ['join', 'conclave 1'],
    ['publish', undefined],
    ['join', [{ feed: 70 }]],
    ['start', undefined],
  ]);
  const sealed = janus.sockets[0]?.sent.map(({ jsep }) => jsep as { e2ee?: boolean } | undefined).filter((jsep) => jsep !== undefined);
  expect(sealed?.map(({ e2ee }) => e2ee)).toEqual([true, true]);
  expect([peers(), call.opened, errors]).toEqual([[2], [2], []]);
});

test('a layer is asked for until it begins, some times', async () => {
  janus.publishers = [{ id: 70, display: 'conclave 2' }];
  await enter();
  call.connections.at(-1)?.becomes('connected');
  const asked = (): unknown[] => janus.requests('configure').map(({ streams }) => (streams as { substream: number }[])[0]?.substream);
  void room.setLayer(2, 0);
  await vi.advanceTimersByTimeAsync(2500);
  expect(janus.requests('configure')[0]).toEqual({ request: 'configure', streams: [{ mid: '1', substream: 0 }] });
  expect(asked()).toEqual([0, 0, 0]);
  janus.say(12, { videoroom: 'event', mid: '1', substream: 0 });
  await vi.advanceTimersByTimeAsync(5000);
  expect(asked()).toEqual([0, 0, 0]);
  // Who wants another one meanwhile is asked for that alone, and nothing is asked for ever.
  void room.setLayer(2, 2);
  void room.setLayer(2, 1);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked().slice(3)).toEqual([2, ...Array.from({ length: 8 }, () => 1)]);
});

test('a publisher that names nobody of the call is left alone, until that member is there', async () => {
  janus.publishers = [
    { id: 70, display: 'conclave 1' },
    { id: 71, display: 'Mallory' },
    { id: 72, display: 'conclave 3' },
    { id: 73, display: 'conclave 2e0' },
    { id: 74, display: 'conclave -2' },
  ];
  await enter();
  expect([peers(), call.opened]).toEqual([[], []]);
  call.members = [member(1), { ...member(3), committed: false }];
  call.tell('members', call.members);
  expect(peers()).toEqual([]);
  call.members = [member(1), member(3)];
  call.tell('members', call.members);
  expect([peers(), call.opened]).toEqual([[3], [3]]);
  // And closed again with the member.
  call.members = [member(1)];
  call.tell('members', call.members);
  expect([peers(), call.connections.at(-1)?.connectionState]).toEqual([[], 'closed']);
});

test('a feed that comes again takes the place of the one before, and one that leaves is gone', async () => {
  await enter();
  janus.say(11, { publishers: [{ id: 70, display: 'conclave 2' }] });
  janus.say(11, { publishers: [{ id: 80, display: 'conclave 2' }] });
  await vi.advanceTimersByTimeAsync(100);
  expect(janus.requests('join').slice(1).map(({ streams }) => streams)).toEqual([[{ feed: 80 }]]);
  expect([peers(), call.opened]).toEqual([[2], [2, 2]]);
  janus.say(11, { unpublished: 70 });
  expect(peers()).toEqual([2]);
  janus.say(11, { leaving: 80 });
  expect(peers()).toEqual([]);
});

test('a feed that fails is asked for again, some times', async () => {
  janus.publishers = [{ id: 70, display: 'conclave 2' }];
  await enter();
  for (let i = 0; i < 5; i += 1) {
    call.connections.at(-1)?.becomes('failed');
    await vi.advanceTimersByTimeAsync(100);
  }
  expect([janus.requests('join').length, errors]).toEqual([1 + 4, ['No media connection to a member could be made.']]);
  expect(room.peers.get(2)?.state).toBe('failed');
});

test('a server that goes away is joined again after a pause, and a room that is not there is made', async () => {
  await enter({ room: 9, create: true });
  expect(janus.requests('create')).toMatchObject([{ room: 9, require_e2ee: true, is_private: true }]);
  expect([room.peers.size, errors]).toEqual([0, []]);
  janus.sockets[0]?.close();
  expect(errors).toEqual(['The connection to the media server is gone.']);
  await vi.advanceTimersByTimeAsync(900);
  expect(janus.sockets).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(300);
  expect([janus.sockets.length, janus.requests('publish').length]).toEqual([2, 2]);
  expect(states).toEqual(['connected', 'interrupted', 'connected']);
});

test('a room that is not there stays so unless it may be made', async () => {
  await enter({ room: 9 });
  expect([janus.requests('create'), errors]).toEqual([[], ['The media server refused: No such room']]);
});

test('who joins again comes into the room under the new number', async () => {
  await enter();
  call.tell('link', 'rejoining');
  expect(janus.sockets[0]?.closed).toBe(true);
  [call.me, call.members] = [member(5), [member(2), member(5)]];
  call.tell('active', [1, 2]);
  await vi.advanceTimersByTimeAsync(100);
  expect(janus.requests('join').map(({ display }) => display)).toEqual(['conclave 1', 'conclave 5']);
});

test('says what it shows through the call, to newcomers too, and hears what others show', async () => {
  janus.publishers = [{ id: 70, display: 'conclave 2' }];
  await enter();
  const sends = '[{"type":"sends","sends":{"audio":false,"video":false}}]';
  expect(call.said).toEqual([`all ${sends}`]);
  call.tell('epoch', { added: [member(1), member(2)] });
  await vi.advanceTimersByTimeAsync(100);
  expect(call.said).toEqual([`all ${sends}`, `2 ${sends}`]);
  expect(room.peers.get(2)?.sends).toEqual({ audio: true, video: true });
  call.tell('signal', { from: 2, payload: new TextEncoder().encode('[{"type":"sends","sends":{"audio":true,"video":false}}]') });
  expect(room.peers.get(2)?.sends).toEqual({ audio: true, video: false });
  call.tell('signal', { from: 2, payload: new TextEncoder().encode('nonsense') });
  expect(errors).toEqual(['A member sent connection data that cannot be used.']);
});

test('after it is closed nothing is left of it', async () => {
  janus.publishers = [{ id: 70, display: 'conclave 2' }];
  await enter();
  call.tell('ended', undefined);
  await vi.advanceTimersByTimeAsync(60_000);
  expect([janus.sockets.map(({ closed }) => closed), call.connections.map(({ connectionState }) => connectionState), peers()]).toEqual([[true], ['closed', 'closed'], []]);
});

test('two calls get two rooms, one call always the same', async () => {
  const [demo, again, other] = await Promise.all(['demo', 'demo', 'demo2'].map(roomOf));
  expect([demo === again, demo === other, Number.isSafeInteger(demo)]).toEqual([true, false, true]);
});
