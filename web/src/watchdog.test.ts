import { expect, test } from 'vitest';

import { Watchdog, framesSent } from './watchdog.ts';

test('media that passed the worker is fine', () => {
  const watchdog = new Watchdog();
  expect(watchdog.check(0, undefined)).toBe(false);
  expect(watchdog.check(100, { framesOut: 100 })).toBe(false);
  expect(watchdog.check(102, { framesOut: 100 })).toBe(false);
});

test('media that the worker never saw is a leak, and stays one', () => {
  const watchdog = new Watchdog();
  expect(watchdog.check(3, undefined)).toBe(true);
  expect(watchdog.check(3, { framesOut: 100 })).toBe(true);
});

test('a transform that stops being asked is a leak', () => {
  const watchdog = new Watchdog();
  expect(watchdog.check(50, { framesOut: 50 })).toBe(false);
  expect(watchdog.check(80, { framesOut: 50 })).toBe(true);
});

test('frames of video and packets of audio are counted, over all streams', () => {
  const report = [
    { type: 'outbound-rtp', kind: 'video', framesSent: 10, packetsSent: 900 },
    { type: 'outbound-rtp', kind: 'video', framesSent: 5 },
    { type: 'outbound-rtp', kind: 'audio', packetsSent: 100, retransmittedPacketsSent: 3 },
    { type: 'remote-inbound-rtp', kind: 'video' },
    { type: 'outbound-rtp', kind: 'video' },
  ];
  expect(framesSent(report)).toBe(112);
});
