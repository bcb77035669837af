import { expect, test } from 'vitest';

import { Watchdog, readSent, type Sent } from './watchdog.ts';

const video = (frames: number): Sent => ({ frames, bytes: 0 });
const audio = (bytes: number): Sent => ({ frames: 0, bytes });

test('media that passed the worker is fine', () => {
  const watchdog = new Watchdog();
  expect(watchdog.check(video(0), undefined)).toBe(false);
  expect(watchdog.check(video(100), { framesOut: 100, bytesOut: 90_000 })).toBe(false);
  expect(watchdog.check(video(102), { framesOut: 100, bytesOut: 90_000 })).toBe(false);
  expect(watchdog.check(audio(5000), { framesOut: 50, bytesOut: 5000 })).toBe(false);
});

test('media that the worker never saw is a leak, and stays one', () => {
  const watchdog = new Watchdog();
  expect(watchdog.check(video(3), undefined)).toBe(true);
  expect(watchdog.check(video(3), { framesOut: 100, bytesOut: 0 })).toBe(true);
  expect(new Watchdog().check(audio(1501), undefined)).toBe(true);
});

test('a transform that stops being asked is a leak', () => {
  const watchdog = new Watchdog();
  expect(watchdog.check(video(50), { framesOut: 50, bytesOut: 0 })).toBe(false);
  expect(watchdog.check(video(80), { framesOut: 50, bytesOut: 0 })).toBe(true);
});

test('frames of video and bytes of audio are counted, over all streams, and copies are not', () => {
  const report = [
    { type: 'outbound-rtp', kind: 'video', framesSent: 10, bytesSent: 90_000 },
    { type: 'outbound-rtp', kind: 'video', framesSent: 5 },
    { type: 'outbound-rtp', kind: 'video' },
    { type: 'outbound-rtp', kind: 'audio', bytesSent: 1000, retransmittedBytesSent: 30 },
    { type: 'remote-inbound-rtp', kind: 'video' },
  ];
  expect(readSent(report)).toEqual({ frames: 15, bytes: 970 });
});
