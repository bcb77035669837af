import { expect, test } from 'vitest';

import { decodeSignals, encodeSignals, type Signal } from './signals.ts';

const bytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

test('signals come out as they went in', () => {
  const signals: Signal[] = [
    { type: 'hello', sends: { audio: true, video: false }, again: false },
    { type: 'sends', sends: { audio: false, video: true } },
    { type: 'description', n: 2, kind: 'offer', sdp: 'v=0' },
    { type: 'candidates', n: 2, candidates: [{ candidate: 'c', sdpMid: '0', sdpMLineIndex: 0, usernameFragment: 'u' }] },
  ];
  expect(decodeSignals(encodeSignals(signals), 1)).toEqual(signals);
});

test('what a later version adds is passed over', () => {
  expect(decodeSignals(bytes([{ type: 'wave' }, { type: 'sends', sends: { audio: true, video: true, screen: true } }]), 1)).toEqual([
    { type: 'sends', sends: { audio: true, video: true } },
  ]);
});

test.each([
  ['no JSON', new TextEncoder().encode('{')],
  ['no UTF-8', Uint8Array.of(0xff)],
  ['no list', bytes({ type: 'hello' })],
  ['too long a list', bytes(Array.from({ length: 33 }, () => ({ type: 'x' })))],
  ['no object', bytes([null])],
  ['no type', bytes([{}])],
  ['half a sends', bytes([{ type: 'sends', sends: { audio: true } }])],
  ['a number below zero', bytes([{ type: 'description', n: -1, kind: 'offer', sdp: '' }])],
  ['another kind', bytes([{ type: 'description', n: 0, kind: 'pranswer', sdp: '' }])],
  ['a candidate without text', bytes([{ type: 'candidates', n: 0, candidates: [{}] }])],
  ['too many candidates', bytes([{ type: 'candidates', n: 0, candidates: Array.from({ length: 65 }, () => ({ candidate: '' })) }])],
])('%s is refused, and its sender named', (_, payload) => {
  expect(() => decodeSignals(payload, 7)).toThrow(expect.objectContaining({ code: 'bad_signal', member: 7 }));
});
