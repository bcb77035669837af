import { describe, expect, test } from 'vitest';

import { ConclaveError, type Cause, type EpochInfo, type ErrorCode, type Member } from '../src/index.ts';
import { relayCodes } from '../src/errors.ts';
import { invitation, throughServer, readAddress, subjectOf } from './address.ts';
import { presenceOf, Unconfirmed, type Evidence } from './presence.ts';
import { enumerate, initials, keyChange, leads, mediaProblem, problemOf } from './words.ts';

const member = (joined: number, user: string, more: Partial<Member> = {}): Member => ({
  seat: joined,
  joined,
  role: 'member',
  user,
  name: 'test',
  ed25519: '',
  committed: true,
  confirmed: true,
  ...more,
});
const [ana, ben] = [member(1, 'Ana'), member(2, 'Ben')];

describe('key changes', () => {
  const info = (cause: Cause, more: Partial<EpochInfo>): EpochInfo => ({
    epoch: [0, 1],
    cause,
    lead: 1,
    members: [ana, ben],
    added: [],
    removed: [],
    roster: '',
    fingerprint: '',
    securityCode: '',
    ...more,
  });

  test.each<[Cause, Partial<EpochInfo>, string]>([
    ['start', {}, 'The call began with its first key.'],
    ['join', { added: [ben] }, 'Ben joined: the key moved one step on.'],
    ['join', { added: [member(9, 'Me')] }, 'You joined: the key moved one step on. What came before stays closed to you.'],
    ['leave', { removed: [ben] }, 'Ben left: everybody has a new key.'],
    ['remove', { removed: [ben] }, 'Ben was removed: everybody has a new key.'],
    ['lead_change', {}, 'Ana leads now: everybody has a new key.'],
    ['lead_change', { lead: 9, members: [member(9, 'Me')] }, 'You lead now: everybody has a new key.'],
    ['timer', {}, 'The key was old: everybody has a new one.'],
    ['request', {}, 'A new key was asked for: everybody has it.'],
  ])('%s', (cause, more, words) => {
    expect(keyChange(info(cause, more), 9)).toBe(words);
  });

  test('who leads', () => {
    expect([leads(ana, 2), leads(ana, 1)]).toEqual(['Ana leads the call now.', 'You lead the call now.']);
  });

  test('many at once', () => {
    expect(enumerate(['Ana', 'Ben', 'Cy'])).toBe('Ana, Ben and 1 other');
    expect(enumerate(['Ana', 'Ben', 'Cy', 'Di'])).toBe('Ana, Ben and 2 others');
  });
});

describe('problems', () => {
  const codes: ErrorCode[] = [...relayCodes().keys(), 'insecure_context', 'unsupported_browser', 'unreachable', 'disconnected', 'token_unavailable'];

  test.each(codes)('%s has a title, and says what to do', (code) => {
    const { title, text } = problemOf(new ConclaveError(code));
    expect(title).not.toBe('');
    expect(text.length).toBeGreaterThan(20);
  });

  test('a page older than the relay is told to reload', () => {
    const problem = problemOf(new ConclaveError('version', { message: 'The relay speaks version 2.' }));
    expect(problem.remedy).toBe('reload');
    expect(problem.text).toBe('The relay speaks version 2. Reload the page to get the current one.');
  });

  test('a refused camera does not keep anybody out', () => {
    for (const name of ['NotAllowedError', 'NotFoundError', 'NotReadableError', 'TypeError']) {
      expect(mediaProblem(new DOMException('', name))).toContain('watch and listen');
    }
  });
});

describe('presence', () => {
  const stream = {} as MediaStream;
  const evidence = (more: Partial<Evidence>): Evidence => ({
    member: ben,
    peer: { joined: 2, state: 'connected', stream, sends: { audio: true, video: true } },
    tracks: [],
    rate: 0,
    age: 0,
    ...more,
  });
  const track = { id: 1, kind: 'open', joined: 2, framesIn: 0, framesOut: 0, bytesOut: 0, dropped: 0, waiting: 0, stuck: false } as const;

  test.each<[string, Partial<Evidence>, string]>([
    ['not committed', { member: member(2, 'Ben', { committed: false }) }, 'joining'],
    ['the bot', { member: member(2, 'Bot', { role: 'lead_bot' }), peer: undefined }, 'headless'],
    ['no mesh yet', { peer: undefined }, 'connecting'],
    ['no mesh at all', { peer: undefined, age: 9000 }, 'headless'],
    ['frames opened', { rate: 24 }, 'decrypting'],
    ['held frames', { tracks: [{ ...track, waiting: 3, stuck: true }] }, 'waiting'],
    ['frames without a key', { waiting: 2500 }, 'waiting'],
    ['frames that have just come before their key', { waiting: 900, rate: 20 }, 'decrypting'],
    ['a recorder', { member: member(2, 'Rec', { role: 'recorder' }), peer: undefined }, 'recording'],
    ['frames that stopped opening', { tracks: [{ ...track, framesOut: 9, stuck: true }] }, 'failed'],
    ['silence', { peer: { joined: 2, state: 'connected', stream, sends: { audio: false, video: false } } }, 'quiet'],
    ['no network', { peer: { joined: 2, state: 'failed', stream, sends: { audio: true, video: true } } }, 'failed'],
  ])('%s', (_, more, kind) => {
    expect(presenceOf(evidence(more)).kind).toBe(kind);
  });
});

test('who has not shown themselves is said so after fifteen seconds of holding the key, and no longer than that holds', () => {
  const unconfirmed = new Unconfirmed();
  const look = (now: number, more: Partial<Member>): boolean => unconfirmed.look([ana, member(2, 'Ben', { confirmed: false, ...more })], now).has(2);
  expect(look(0, { committed: false })).toBe(false);
  expect([20_000, 35_000, 35_001].map((now) => look(now, {}))).toEqual([false, false, true]);
  expect(look(36_000, { confirmed: true })).toBe(false);
  expect(look(40_000, {})).toBe(false);
  expect(look(56_000, {})).toBe(true);
  unconfirmed.clear();
  expect(look(57_000, {})).toBe(false);
  expect([...unconfirmed.look([ana], 90_000)]).toEqual([]);
});

test('a wait for a key is told with its length', () => {
  const text = (waiting: number): string =>
    presenceOf({ member: ben, peer: { joined: 2, state: 'connected', stream: {} as MediaStream, sends: { audio: true, video: true } }, tracks: [], waiting, rate: 0, age: 0 }).text;
  expect([1000, 2999, 61_000].map(text)).toEqual(['Waiting for a key since 1 s', 'Waiting for a key since 2 s', 'Waiting for a key since 1 min']);
});

describe('the address', () => {
  test('of the call stands behind ? or #', () => {
    expect(readAddress('https://a.example/?call=one').call).toBe('one');
    expect(readAddress('https://a.example/?call=one#call=two&token=t')).toEqual({ call: 'two', name: '', token: 't', small: false, codecs: [] });
    expect(readAddress('https://a.example/?call=one&codecs=AV1,vp9').codecs).toEqual(['av1', 'vp9']);
  });

  test('of a call through a media server says which', () => {
    expect(readAddress('https://a.example/?call=x').server).toBeUndefined();
    expect(readAddress('https://a.example/?call=x&sfu=janus').server).toEqual({ url: 'ws://127.0.0.1:8188' });
    const href = 'https://a.example/?call=x&sfu=janus&janus=wss%3A%2F%2Fj.example%2F';
    expect(readAddress(href).server).toEqual({ url: 'wss://j.example/' });
    expect(readAddress(invitation(href, 'x')).server).toEqual({ url: 'wss://j.example/' });
    const switched = throughServer('https://a.example/?call=x&name=Ana#token=t', 'x');
    expect(readAddress(switched)).toEqual({ call: 'x', name: 'Ana', token: 't', small: false, codecs: [], server: { url: 'ws://127.0.0.1:8188' } });
  });

  test('an invitation carries no token', () => {
    expect(invitation('https://a.example/?call=x#call=x&token=secret', 'x y')).toBe('https://a.example/#call=x+y');
  });

  test('a token says to whom it was made out', () => {
    const payload = btoa(JSON.stringify({ sub: 'Ana' })).replaceAll('=', '');
    expect(subjectOf(`h.${payload}.s`)).toBe('Ana');
    for (const token of ['', 'a.b.c', 'a.bnVsbA.c', 'x']) expect(subjectOf(token)).toBeUndefined();
  });
});

test('initials', () => {
  expect(['Ana', 'Ana Berg', '  zoë  van der Berg ', '🎈', ''].map(initials)).toEqual(['A', 'AB', 'ZB', '🎈', '']);
});
