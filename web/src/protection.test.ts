import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { ConclaveError } from './errors.ts';
import { makeConnection } from './media/connection.ts';
import { Protection } from './protection.ts';
import type { TransformOptions } from './worker/protocol.ts';

class Sender {
  track: unknown = {};
  sentFrames = 0;
  async getStats(): Promise<Map<string, object>> {
    return new Map([['s', { type: 'outbound-rtp', kind: 'video', framesSent: this.sentFrames }]]);
  }
  async replaceTrack(track: unknown): Promise<void> {
    this.track = track;
  }
}

/** A connection as far as senders and receivers go. */
class Connection extends EventTarget {
  readonly senders: Sender[] = [];
  readonly receivers: object[] = [];
  async setRemoteDescription(): Promise<void> {}
  getSenders(): Sender[] {
    return this.senders;
  }
  getReceivers(): object[] {
    return this.receivers;
  }
  addTrack(): Sender {
    this.senders.push(new Sender());
    return this.senders.at(-1) as Sender;
  }
  addTransceiver(): { sender: Sender } {
    return { sender: this.addTrack() };
  }
  offered(): { receiver: object; transceiver: { sender: Sender } } {
    const event = { receiver: {}, transceiver: { sender: new Sender() } };
    this.dispatchEvent(Object.assign(new Event('track'), event));
    return event;
  }
}

const attached: [unknown, TransformOptions][] = [];
const unprotected: [unknown, string][] = [];
let framesOut = 0;
let protection: Protection;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('RTCPeerConnection', Connection);
  attached.length = unprotected.length = framesOut = 0;
  protection = new Protection({
    attach: (end, options) => void attached.push([end, options]),
    stats: async () => ({
      now: 0,
      core: {},
      transforms: attached.map(([, { id, kind }]) => ({ id, kind, framesIn: 0, framesOut, bytesOut: 0, dropped: 0, waiting: 0, stuck: false })),
    }),
    unprotected: (sender, error) => void unprotected.push([sender, error.code]),
  });
});

afterEach(() => {
  protection.stop();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const ends = (): unknown[] => attached.map(([end]) => end);
const as = <T>(value: unknown): T => value as T;

describe('a connection that was made elsewhere', () => {
  test('is protected whole before it has senders: each one in the task that makes it', () => {
    const connection = new Connection();
    protection.protect(as<RTCPeerConnection>(connection));
    const first = connection.addTrack();
    expect(ends()).toEqual([first]);
    const second = connection.addTransceiver().sender;
    const third = connection.offered().transceiver.sender;
    expect(ends()).toEqual([first, second, third]);
    expect(new Set(attached.map(([, { id }]) => id)).size).toBe(3);
  });

  test('is refused once it has one: that one may send in clear already', () => {
    const connection = new Connection();
    connection.addTrack();
    expect(() => protection.protect(as<RTCPeerConnection>(connection))).toThrow(ConclaveError);
    expect(attached).toEqual([]);
  });
});

test('a connection of our own may be protected at any time, and twice', () => {
  const connection = makeConnection({});
  const fake = as<Connection>(connection);
  const sender = fake.addTrack();
  protection.protect(connection);
  protection.protect(connection);
  protection.protect(as<RTCRtpSender>(sender));
  fake.addTrack();
  expect(ends()).toEqual(fake.senders);
});

test('receivers of a connection open as one member, those to come too', () => {
  const connection = new Connection();
  connection.receivers.push({ first: true });
  protection.unprotect(as<RTCPeerConnection>(connection), 7, 2);
  const { receiver } = connection.offered();
  protection.unprotect(as<RTCRtpReceiver>(receiver), 8, 3);
  expect(ends()).toEqual([{ first: true }, receiver]);
  expect(attached.map(([, options]) => options)).toMatchObject([{ kind: 'open', joined: 7, seat: 2 }, { kind: 'open', joined: 7, seat: 2 }]);
});

test('media that went past the worker is stopped and told', async () => {
  const sender = new Sender();
  protection.protect(as<RTCRtpSender>(sender));
  framesOut = 10;
  sender.sentFrames = 12;
  await vi.advanceTimersByTimeAsync(1000);
  expect(unprotected).toEqual([]);
  sender.sentFrames = 13;
  await vi.advanceTimersByTimeAsync(1000);
  expect([unprotected, sender.track]).toEqual([[[sender, 'unprotected_media']], null]);
});
