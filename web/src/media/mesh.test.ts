import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { Call } from '../call.ts';
import { Emitter } from '../emitter.ts';
import type { LinkState, Member } from '../events.ts';
import { Mesh } from './mesh.ts';

/** A connection that does nothing but change its state when the test says so. */
class FakeConnection {
  onconnectionstatechange: (() => void) | undefined;
  connectionState = 'new';
  signalingState = 'stable';
  iceGatheringState = 'complete';
  localDescription = null;
  closed = false;
  async setLocalDescription(): Promise<void> {}
  addTransceiver(): object {
    return { sender: { replaceTrack: async () => {} }, receiver: { track: {} }, direction: 'sendrecv', setCodecPreferences() {} };
  }
  getTransceivers(): [] {
    return [];
  }
  getSenders(): [] {
    return [];
  }
  restartIce(): void {}
  close(): void {
    this.closed = true;
    this.signalingState = 'closed';
  }
  becomes(state: string): void {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
}

const member = (joined: number): Member => ({ seat: joined, joined, role: 'member', user: `u${joined}`, name: 'n', ed25519: '', committed: true, confirmed: true });

/** The part of a call that a mesh uses, with this device as member 1. */
class FakeCall extends Emitter<Record<string, unknown>> {
  me = member(1);
  link: LinkState = 'up';
  active: readonly number[] | undefined = [1, 1];
  members = [member(1), member(2)];
  readonly connections: FakeConnection[] = [];
  readonly said: string[] = [];

  createPeerConnection(): FakeConnection {
    const connection = new FakeConnection();
    this.connections.push(connection);
    return connection;
  }
  protect(): void {}
  unprotect(): void {}
  async signal(payload: Uint8Array, to?: number): Promise<void> {
    this.said.push(`${to ?? 'all'} ${new TextDecoder().decode(payload)}`);
  }
  tell(name: string, event: unknown): void {
    this.emit(name, event);
  }
  becomes(link: LinkState): void {
    this.link = link;
    this.tell('link', link);
  }
  hello(from: number): void {
    const hello = [{ type: 'hello', sends: { audio: true, video: true } }];
    this.tell('signal', { from, payload: new TextEncoder().encode(JSON.stringify(hello)) });
  }
}

let call: FakeCall;
let mesh: Mesh;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal(
    'MediaStream',
    class {
      addTrack(): void {}
    },
  );
  vi.stubGlobal('RTCRtpReceiver', { getCapabilities: () => ({ codecs: [] }) });
  vi.stubGlobal('RTCRtpSender', { getCapabilities: () => ({ codecs: [] }) });
  call = new FakeCall();
  mesh = new Mesh(call as unknown as Call);
  call.hello(2);
});

afterEach(() => {
  mesh.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const hellos = (): number => call.said.filter((text) => text.startsWith('all') && text.includes('hello')).length;

test('a link that is down leaves connections alone', () => {
  call.connections[0]?.becomes('connected');
  call.becomes('down');
  call.tell('away', { member: 2, reason: 'dropped' });
  call.becomes('up');
  expect([call.connections.length, call.connections[0]?.closed, [...mesh.peers.keys()]]).toEqual([1, false, [2]]);
});

test('a connection that fails meanwhile is made again once there is a way to say so', () => {
  call.connections[0]?.becomes('connected');
  call.becomes('down');
  // ICE is started anew once before a connection is given up.
  for (let i = 0; i < 4; i += 1) {
    call.connections[0]?.becomes('failed');
    vi.advanceTimersByTime(20_000);
  }
  expect([mesh.peers.get(2)?.state, call.connections.length]).toEqual(['failed', 1]);
  call.becomes('up');
  expect([call.connections.length, mesh.peers.get(2)?.state]).toEqual([2, 'connecting']);
});

test('who joins again is somebody new: connections go, and hello is said once there is a key', () => {
  const gone: number[] = [];
  mesh.on('gone', (joined) => gone.push(joined));
  vi.advanceTimersByTime(1000);
  expect(hellos()).toBe(1);
  call.becomes('rejoining');
  expect([gone, call.connections[0]?.closed, mesh.peers.size]).toEqual([[2], true, 0]);
  call.me = member(3);
  call.members = [member(2), member(3)];
  call.becomes('up');
  vi.advanceTimersByTime(10_000);
  expect(hellos()).toBe(1);
  call.tell('active', [1, 3]);
  vi.advanceTimersByTime(1000);
  expect(hellos()).toBe(2);
});

test('another member that joins again is somebody new too', () => {
  call.connections[0]?.becomes('connected');
  call.members = [member(1), member(4)];
  call.tell('left', { member: 2, reason: 'closed' });
  call.hello(4);
  expect([call.connections[0]?.closed, [...mesh.peers.keys()]]).toEqual([true, [4]]);
});
