import { expect, test } from 'vitest';

import type { SeatStats, WorkerStats } from '../worker/protocol.ts';
import { MediaLook } from './stats.ts';

const counted = (more: Partial<SeatStats> = {}): SeatStats => ({ opened: 5, undecryptable: 0, held: 0, duplicates: 0, late: 0, expired: 0, refused: 0, ...more });
const stats = (now: number, seats: Record<string, SeatStats>): WorkerStats => ({ now, transforms: [], core: { seats } });

test('tells each member once, and again only when something changed', () => {
  const look = new MediaLook();
  const seats = new Map([[7, 0], [9, 3]]);
  expect(look.changes(0, stats(0, { 0: counted(), 3: counted({ opened: 1 }) }), seats)).toEqual([
    { member: 7, opened: 5, undecryptable: 0, held: 0, duplicates: 0, late: 0, expired: 0, refused: 0 },
    { member: 9, opened: 1, undecryptable: 0, held: 0, duplicates: 0, late: 0, expired: 0, refused: 0 },
  ]);
  expect(look.changes(1000, stats(1000, { 0: counted(), 3: counted({ opened: 1 }) }), seats)).toEqual([]);
  expect(look.changes(2000, stats(2000, { 0: counted(), 3: counted({ opened: 2 }) }), seats)).toMatchObject([{ member: 9, opened: 2 }]);
});

test('says since when a key is missing, by the clock of the page', () => {
  const look = new MediaLook();
  const seats = new Map([[7, 0]]);
  // The worker is 400 ms old where the page is 5,000.
  const waiting = counted({ held: 3, waiting_since: 100 });
  expect(look.changes(5000, stats(400, { 0: waiting }), seats)).toMatchObject([{ member: 7, held: 3, waitingForKeySince: 4700 }]);
  // Still the same wait, though the clocks say something else by a hair.
  expect(look.changes(6000, stats(1401, { 0: waiting }), seats)).toEqual([]);
  const [after] = look.changes(7000, stats(2400, { 0: counted({ held: 3, opened: 8, waiting_since: null }) }), seats);
  expect(after).toEqual({ member: 7, opened: 8, undecryptable: 0, held: 3, duplicates: 0, late: 0, expired: 0, refused: 0 });
});

test('a seat without frames says nothing, and somebody else on a seat is told anew', () => {
  const look = new MediaLook();
  expect(look.changes(0, stats(0, {}), new Map([[7, 0]]))).toEqual([]);
  expect(look.changes(0, stats(0, { 0: counted() }), new Map([[7, 0]]))).toHaveLength(1);
  expect(look.changes(0, stats(0, { 0: counted() }), new Map([[8, 0]]))).toMatchObject([{ member: 8 }]);
  expect(look.changes(0, stats(0, { 0: counted() }), new Map([[7, 0]]))).toMatchObject([{ member: 7 }]);
});
