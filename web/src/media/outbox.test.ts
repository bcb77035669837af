import { expect, test } from 'vitest';

import { BUNDLE_TIME, Outbox } from './outbox.ts';
import { decodeSignals, type Signal } from './signals.ts';

const candidate = (text: string): Signal => ({ type: 'candidates', n: 0, candidates: [{ candidate: text }] });
const offer: Signal = { type: 'description', n: 0, kind: 'offer', sdp: 'v=0' };

test('candidates wait for each other', () => {
  const outbox = new Outbox();
  outbox.add(0, 1, candidate('a'), false);
  outbox.add(10, 1, candidate('b'), false);
  expect(outbox.due(10)).toBe(BUNDLE_TIME);
  expect(outbox.take(BUNDLE_TIME - 1)).toEqual([]);
  const [parcel] = outbox.take(BUNDLE_TIME);
  expect(decodeSignals(parcel?.payload ?? new Uint8Array(), 1)).toHaveLength(2);
  expect(outbox.due(BUNDLE_TIME)).toBeUndefined();
});

test('a description goes at once and takes along what waits for the same member, in order', () => {
  const outbox = new Outbox();
  outbox.add(0, 1, candidate('a'), false);
  outbox.add(0, 2, candidate('b'), false);
  outbox.add(1, 1, offer, true);
  const parcels = outbox.take(1);
  expect(parcels.map(({ to }) => to)).toEqual([1]);
  expect(decodeSignals(parcels[0]?.payload ?? new Uint8Array(), 1).map(({ type }) => type)).toEqual(['candidates', 'description']);
});

test('eight pages that join at once stay inside the limit of the relay, and so does a page that never stops', () => {
  const outbox = new Outbox();
  // What the newest of eight pages says: hello, then seven answers and their late candidates.
  outbox.add(0, 'all', { type: 'hello', sends: { audio: true, video: true } }, true);
  for (let peer = 1; peer < 8; peer += 1) {
    outbox.add(0, peer, offer, true);
    for (let i = 0; i < 6; i += 1) outbox.add(20 + i, peer, candidate(String(i)), false);
  }
  const first = [...outbox.take(0), ...outbox.take(100)];
  expect(first.length).toBeLessThanOrEqual(15);

  // A member may send 60 at once and 20 a second: over any time, less than half of that must go.
  let sent = 0;
  for (let now = 100; now < 10_000; now += 1) {
    outbox.add(now, now % 7, offer, true);
    sent += outbox.take(now).length;
  }
  expect(sent).toBeLessThanOrEqual(30 + 10 * 10);
  expect(sent).toBeGreaterThan(100);
});

test('when too much has gone out, the next one says when', () => {
  const outbox = new Outbox();
  for (let i = 0; i < 31; i += 1) outbox.add(0, i, offer, true);
  expect(outbox.take(0)).toHaveLength(30);
  expect(outbox.due(0)).toBe(100);
  expect(outbox.take(100)).toHaveLength(1);
});

test('large signals are split over messages, and a member who left gets none', () => {
  const outbox = new Outbox();
  const large: Signal = { ...offer, sdp: 'x'.repeat(20_000) };
  outbox.add(0, 1, large, true);
  outbox.add(0, 1, large, true);
  outbox.add(0, 2, large, true);
  outbox.drop(2);
  const parcels = outbox.take(0);
  expect(parcels).toHaveLength(2);
  for (const { payload } of parcels) expect(payload.length).toBeLessThan(40 * 1024);
});
