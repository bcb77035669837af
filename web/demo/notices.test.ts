import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Notices } from './notices.ts';

let notices: Notices;
const text = (): string | undefined => notices.current?.text;

beforeEach(() => {
  vi.useFakeTimers();
  notices = new Notices(() => {});
});

afterEach(() => {
  vi.useRealTimers();
});

test('a gap shorter than a second is never seen', () => {
  notices.link('down');
  vi.advanceTimersByTime(999);
  expect(text()).toBeUndefined();
  notices.link('up');
  vi.advanceTimersByTime(10_000);
  expect(text()).toBeUndefined();
});

test('a longer one is told while it lasts, and its end for a moment', () => {
  notices.link('down');
  vi.advanceTimersByTime(1000);
  expect(notices.current).toEqual({ kind: 'trouble', text: 'Connection lost, reconnecting. Your call goes on.' });
  notices.paused('lease');
  expect(text()).toBe('Connection lost, reconnecting. Nobody sees or hears you until it is back.');
  notices.paused(undefined);
  notices.link('up');
  expect(notices.current).toEqual({ kind: 'good', text: 'Back.' });
  vi.advanceTimersByTime(4000);
  expect(text()).toBeUndefined();
});

test('who joins again is back with a key, not with a seat', () => {
  notices.link('down');
  vi.advanceTimersByTime(1000);
  notices.link('rejoining');
  expect(text()).toBe('Joining again…');
  notices.link('up');
  expect(text()).toBe('Joining again…');
  notices.active();
  expect(text()).toBe('Back.');
});

test('a missing key is told with its cause, and a pause before it', () => {
  notices.missing('frames');
  vi.advanceTimersByTime(1000);
  expect(text()).toContain('no key for');
  notices.paused('behind');
  expect(text()).toContain('Nobody sees or hears you');
  notices.paused(undefined);
  expect(text()).toContain('no key for');
  notices.missing(undefined);
  expect(text()).toBe('Back.');
});

test('trouble stands before news, which go by themselves', () => {
  notices.tell('Ana leads the call.');
  expect(notices.current).toEqual({ kind: 'news', text: 'Ana leads the call.' });
  notices.link('down');
  vi.advanceTimersByTime(1000);
  expect(text()).toContain('Connection lost');
  vi.advanceTimersByTime(3000);
  notices.clear();
  vi.advanceTimersByTime(10_000);
  expect(text()).toBeUndefined();
});

test('a media server that is away is said, unless something worse is', () => {
  notices.server('interrupted');
  vi.advanceTimersByTime(1500);
  expect(text()).toContain('The media server does not answer');
  notices.link('down');
  expect(text()).toContain('Connection lost');
  notices.link('up');
  notices.server('connected');
  expect(text()).toBe('Back.');
});
