import { expect, test } from 'vitest';

import type { CoreMember } from './events.ts';
import { MemberList } from './members.ts';

const member = (joined: number, seat = joined): CoreMember => ({ seat, joined, role: 'member', user: `u${joined}`, name: 'n', ed25519: '' });
const numbers = (members: readonly CoreMember[]): number[] => members.map(({ joined }) => joined);

test('the relay claims, the lead commits', () => {
  const list = new MemberList();
  list.arrived(member(2));
  list.arrived(member(1));
  expect(list.all.map(({ joined, committed }) => [joined, committed])).toEqual([[1, false], [2, false]]);
  const change = list.commit([member(1)]);
  expect(numbers(change.added)).toEqual([1]);
  expect(list.all.map(({ joined, committed }) => [joined, committed])).toEqual([[1, true], [2, false]]);
});

test('a member is confirmed by their own word until they are out, and this device from the start', () => {
  const confirmed = (): [number, boolean][] => list.all.map((each) => [each.joined, each.confirmed]);
  const list = new MemberList();
  list.restart(2);
  for (const joined of [1, 2, 3]) list.arrived(member(joined));
  expect(confirmed()).toEqual([[1, false], [2, true], [3, false]]);
  const roster = [member(1), member(2), member(3)];
  expect(list.commit(roster).added.map((each) => each.confirmed)).toEqual([false, true, false]);
  list.confirm(1);
  expect(list.commit(roster).members.map((each) => each.confirmed)).toEqual([true, true, false]);
  expect([list.get(1), list.known(3)].map((each) => each?.confirmed)).toEqual([true, false]);
  expect(list.commit([member(2), member(3)]).removed.map((each) => [each.joined, each.confirmed])).toEqual([[1, true]]);
  expect(confirmed()).toEqual([[2, true], [3, false]]);
  list.restart(1);
  list.arrived(member(2));
  expect(confirmed()).toEqual([[2, false]]);
});

test('a leaver goes at once, and the epoch that follows names them', () => {
  const list = new MemberList();
  list.commit([member(1), member(2)]);
  list.left(2);
  expect(numbers(list.all)).toEqual([1]);
  expect(numbers(list.commit([member(1)]).removed)).toEqual([2]);
});

test('an epoch that was on its way does not bring a leaver back', () => {
  const list = new MemberList();
  list.commit([member(1), member(2)]);
  list.left(2);
  expect(numbers(list.commit([member(1), member(2), member(3)]).added)).toEqual([3]);
  expect(numbers(list.all)).toEqual([1, 3]);
  expect(numbers(list.commit([member(1), member(3)]).removed)).toEqual([2]);
});

test('a seat is remembered for frames in flight, and not for ever', () => {
  const list = new MemberList();
  list.commit([member(1, 0)]);
  for (let joined = 2; joined < 1000; joined += 1) {
    list.commit([member(1, 0), member(joined, 1)]);
    list.left(joined);
  }
  expect(list.seat(999)).toBe(1);
  expect(list.seat(1)).toBe(0);
  expect(list.seat(2)).toBeUndefined();
});
