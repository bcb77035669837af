import { describe, expect, test } from 'vitest';

import { readCoreEvent } from './events.ts';

/** The error of an event that must carry one. */
function errorIn(event: unknown): { code: string; message: string } {
  const read = readCoreEvent(event);
  if (!('error' in read)) throw new Error(`${read.type} carries no error`);
  return { code: read.error.code, message: read.error.message };
}

describe('events of the core', () => {
  test('an epoch keeps its fields', () => {
    const epoch = { epoch: [1, 3], cause: 'join', lead: 1, members: [], roster: 'r', fingerprint: 'f', security_code: '1 2' };
    expect(readCoreEvent({ epoch })).toEqual({ type: 'epoch', ...epoch });
  });

  test('newtypes and units', () => {
    expect(readCoreEvent({ active: [1, 3] })).toEqual({ type: 'active', epoch: [1, 3] });
    expect(readCoreEvent({ member_present: 7 })).toEqual({ type: 'member_present', joined: 7 });
    expect(readCoreEvent({ member_confirmed: 7 })).toEqual({ type: 'member_confirmed', joined: 7 });
    expect(readCoreEvent({ link: 'down' })).toEqual({ type: 'link', state: 'down' });
    expect(readCoreEvent({ member_away: { joined: 3, reason: 'silent' } })).toEqual({ type: 'member_away', joined: 3, reason: 'silent' });
    expect(readCoreEvent({ member_back: 3 })).toEqual({ type: 'member_back', joined: 3 });
    expect(readCoreEvent({ key_missing: 'withheld' })).toEqual({ type: 'key_missing', reason: 'withheld' });
    expect(readCoreEvent({ paused: 'lease' })).toEqual({ type: 'paused', reason: 'lease' });
    expect(['key_found', 'resumed'].map((name) => readCoreEvent(name))).toEqual([{ type: 'key_found' }, { type: 'resumed' }]);
    expect(readCoreEvent({ closing: 1500 })).toEqual({ type: 'closing', after: 1500 });
  });

  test('the payload of a message is bytes', () => {
    const message = readCoreEvent({ message: { from: 2, direct: true, payload: '-_8A' } });
    expect(message).toEqual({ type: 'message', from: 2, direct: true, payload: Uint8Array.of(0xfb, 0xff, 0) });
  });

  test('a security event is named, with or without details', () => {
    expect(readCoreEvent({ security: { kind: { bad_body: { from: 2 } }, message: 'm' } })).toEqual({ type: 'security', kind: 'bad_body', message: 'm' });
    expect(readCoreEvent({ security: { kind: 'odd', message: 'm' } })).toEqual({ type: 'security', kind: 'odd', message: 'm' });
  });

  test('what a relay says that is no message is an error', () => {
    expect(errorIn({ protocol_error: { message: 'not JSON' } })).toEqual({ code: 'malformed', message: 'not JSON' });
  });

  test('a later core may tell more', () => {
    expect(readCoreEvent({ something: 1 })).toEqual({ type: 'unknown', name: 'something' });
    expect(readCoreEvent(null)).toEqual({ type: 'unknown', name: '' });
  });
});

describe('the end of a session', () => {
  test('by itself, by the relay, by the network', () => {
    expect(errorIn({ ended: 'left' }).code).toBe('left');
    expect(errorIn({ ended: { closed: 'token_refused' } }).code).toBe('token_refused');
    expect(errorIn({ ended: 'disconnected' }).code).toBe('disconnected');
  });

  test('an older page is told so', () => {
    const { code, message } = errorIn({ ended: { version: { relay: 2, ours: 1 } } });
    expect(code).toBe('version');
    expect(message).toBe('The relay speaks protocol version 2, this page version 1: this page is older than the relay.');
    expect(errorIn({ ended: { version: { relay: 1, ours: 2 } } }).message).toContain('the relay is older than this page');
  });

  test('a reason of a newer relay is an error all the same', () => {
    expect(errorIn({ ended: { closed: 'brand_new' } }).code).toBe('internal');
    expect(errorIn({ ended: { internal: 'counter' } }).message).toBe('The core stopped: counter.');
  });
});

describe('a refused command', () => {
  test('names its reason and the member', () => {
    const event = readCoreEvent({ command_failed: { kind: { unknown_member: 9 }, message: 'member 9 is not in the call' } });
    expect(event.type === 'command_failed' && [event.error.code, event.error.member]).toEqual(['unknown_member', 9]);
    expect(errorIn({ command_failed: { kind: 'no_key', message: 'none yet' } })).toEqual({ code: 'no_key', message: 'none yet' });
    expect(errorIn({ command_failed: { kind: 'ended', message: 'over' } }).code).toBe('left');
  });
});
