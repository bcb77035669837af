import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

import { ConclaveError, codeOfClose, relayCodes } from './errors.ts';

test('the table of close codes is the one of the wire format', () => {
  const rust = readFileSync(new URL('../../shared/src/wire/code.rs', import.meta.url), 'utf8');
  const rows = [...rust.matchAll(/^ {4}(\d{4}) "(\w+)" \w+ (\w+) "([^"]+)",$/gm)].map(([, number, name, retry, sentence]) => ({
    number: Number(number),
    name,
    retryable: retry !== 'No',
    sentence,
  }));
  const closing = rows.filter(({ number }) => number < 4100);
  expect(closing.length).toBeGreaterThan(20);
  expect([...relayCodes()].map(([name, code]) => ({ name, ...code }))).toEqual(closing.map(({ name, ...code }) => ({ name, ...code })));
});

test('a close code names its error', () => {
  expect(codeOfClose(4012)).toBe('call_full');
  expect(codeOfClose(1006)).toBeUndefined();
});

test('an error says whether trying again helps, and whom it is about', () => {
  const full = new ConclaveError('call_full');
  expect([full.retryable, full.message]).toEqual([true, 'The call has no free seat.']);
  const refused = new ConclaveError('bad_signal', { member: 3, epoch: [1, 2], message: 'No.' });
  expect([refused.member, refused.epoch, refused.message, refused.name]).toEqual([3, [1, 2], 'No.', 'ConclaveError']);
});
