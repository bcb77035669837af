/** The SDK by itself: messages, rotation, and errors that a program can match. */

import { createHash } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import type { Failure } from './laboratory/laboratory.ts';
import { joinFromLaboratory, openLaboratory, type Lab } from './lib/laboratory.ts';
import { openBrowser } from './lib/page.ts';
import { pause, Relay, say, until } from './lib/programs.ts';

let relay: Relay;
let browser: Browser;

beforeAll(async () => {
  relay = await Relay.start({ CONCLAVE_MAX_MEMBERS: '3' });
  browser = await openBrowser();
});

afterAll(async () => {
  await browser?.close();
  await relay?.stop();
});

const open = (): Promise<Page> => openLaboratory(browser, relay);

/** Says a challenge that names this version, as one text frame (RFC 6455 section 5.2), and nothing more. */
async function relayOfVersion(version: number): Promise<{ url: string; close(): void }> {
  const server = createHttpServer();
  server.on('upgrade', (request, socket) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    const zeros = (bytes: number): string => Buffer.alloc(bytes).toString('base64url');
    // Two bytes of length are for 126 bytes and more.
    const text = JSON.stringify({ challenge: { versions: [version], nonce: zeros(32), relay: zeros(16) } }).padEnd(200);
    socket.write(Buffer.concat([Buffer.from([0x81, 126, text.length >> 8, text.length & 0xff]), Buffer.from(text)]));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() };
}

async function join(call: string, user: string): Promise<Lab> {
  const lab = await joinFromLaboratory(browser, relay, call, user);
  await lab.page.evaluate(() => window.laboratory.active());
  return lab;
}

test('messages reach all or one, and say who sent them', async () => {
  const [ana, ben, cleo] = [await join('chat', 'Ana'), await join('chat', 'Ben'), await join('chat', 'Cleo')];
  await ben.page.evaluate(() => window.laboratory.send('to all, Zoë 🎈'));
  await ben.page.evaluate((to) => window.laboratory.send('to Ana', to), ana.joined);
  const messages = (page: Page) => page.evaluate(() => window.laboratory.heard.messages);
  await until('both messages', 5000, async () => (await messages(ana.page)).length === 2);
  expect(await messages(ana.page)).toEqual([
    { from: ben.joined, direct: false, text: 'to all, Zoë 🎈' },
    { from: ben.joined, direct: true, text: 'to Ana' },
  ]);
  expect(await messages(cleo.page)).toEqual([{ from: ben.joined, direct: false, text: 'to all, Zoë 🎈' }]);

  // A member asks, the lead rotates, everybody hears of it.
  const before = await cleo.page.evaluate(() => window.laboratory.active());
  await cleo.page.evaluate(() => window.laboratory.rotate());
  for (const { page } of [ana, ben, cleo]) {
    await until('a key on request', 5000, async () => (await page.evaluate(() => window.laboratory.heard.causes)).includes('request'));
  }
  const after = await Promise.all([ana, ben, cleo].map(({ page }) => page.evaluate(() => window.laboratory.active())));
  expect(new Set(after).size).toBe(1);
  expect(after[0]).not.toBe(before);

  const refusal = (page: Page, command: 'long' | 'remove' | 'stranger') => page.evaluate((of) => window.laboratory.refusal(of), command);
  expect(await refusal(ben.page, 'long')).toMatchObject({ code: 'too_long', retryable: false });
  expect(await refusal(ben.page, 'remove')).toMatchObject({ code: 'not_lead', retryable: false });
  expect(await refusal(ben.page, 'stranger')).toMatchObject({ code: 'unknown_member', retryable: false });

  // Three are as many as this relay takes.
  const page = await open();
  const full = await page.evaluate((token) => window.laboratory.failure({ call: 'chat', user: 'Dora', token }), relay.token('chat', 'Dora'));
  expect(full).toMatchObject({ code: 'call_full', retryable: true });
  expect(await cleo.page.evaluate(() => window.laboratory.leave())).toMatchObject({ code: 'left', retryable: false });
});

test('a connection that was made elsewhere is protected whole, and each member’s frames are told of', async () => {
  const [ana, ben] = [await join('elsewhere', 'Ana'), await join('elsewhere', 'Ben')];
  await until('both in the roster', 5000, async () => (await ana.page.evaluate(() => window.laboratory.roster())) === 2);
  await ana.page.evaluate(() => window.laboratory.active());
  const offer = await ana.page.evaluate(() => window.laboratory.offer('vp8', true));
  const answer = await ben.page.evaluate((args) => window.laboratory.answer(...args), [offer, ana.joined, true] as const);
  await ana.page.evaluate((text) => window.laboratory.accept(text), answer);
  await pause(4500);
  const { frames, heard, undecryptable, refused } = await ben.page.evaluate(() => window.laboratory.decoded());
  const told = await ben.page.evaluate(() => window.laboratory.mediaStats);
  say(`\nA connection made elsewhere: ${frames} pictures decoded, ${heard} samples heard, ${undecryptable} undecryptable; media_stats ${told.length} times, the last with ${told.at(-1)?.opened} opened`);
  expect(frames).toBeGreaterThan(20);
  expect(heard).toBeGreaterThan(48_000);
  expect([undecryptable, refused]).toEqual([0, 0]);
  // Nothing went past the worker: what was opened was sealed.
  expect(await ana.page.evaluate(() => window.laboratory.unprotected)).toBe(0);
  expect(told.length).toBeGreaterThan(2);
  expect(new Set(told.map(({ member }) => member))).toEqual(new Set([ana.joined]));
  for (const [i, { opened, at, undecryptable: bad, waitingForKeySince }] of told.entries()) {
    expect([bad, waitingForKeySince]).toEqual([0, undefined]);
    const before = told[i - 1];
    if (!before) continue;
    expect(opened).toBeGreaterThan(before.opened);
    expect(at - before.at).toBeGreaterThanOrEqual(999);
  }
  // Once it has senders it may have sent in clear.
  expect(await ana.page.evaluate(() => window.laboratory.refusal('late'))).toMatchObject({ code: 'not_protectable', retryable: false });
  for (const { page } of [ana, ben]) await page.close();
});

test('a join that cannot work says why', async () => {
  const page = await open();
  const failure = (options: Parameters<Window['laboratory']['failure']>[0]): Promise<Failure> =>
    page.evaluate((of) => window.laboratory.failure(of), options);
  const token = relay.token('demo', 'Ana');
  expect(await failure({ token: 'no.such.token' })).toMatchObject({ code: 'token_refused', retryable: false });
  expect(await failure({ token: relay.token('demo', 'Ana', -600) })).toMatchObject({ code: 'token_expired', retryable: true });
  expect(await failure({ token, call: 'other' })).toMatchObject({ code: 'wrong_call', retryable: false });
  expect(await failure({ token, user: 'Eve' })).toMatchObject({ code: 'user_mismatch', retryable: false });
  expect(await failure({ token, call: 'no spaces' })).toMatchObject({ code: 'bad_options', message: expect.stringContaining('A-Z a-z 0-9') });
  expect(await failure({ token, url: 'ftp://relay.example' })).toMatchObject({ code: 'bad_options' });
  // Nobody listens on port 9.
  expect(await failure({ token, url: 'http://127.0.0.1:9' })).toMatchObject({ code: 'unreachable', retryable: true });
  // A server that takes the connection and says nothing: the caller decides how long to wait.
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as AddressInfo;
  expect(await failure({ token, url: `http://127.0.0.1:${port}`, after: 300 })).toMatchObject({ code: 'aborted', retryable: false });
  silent.close();
  // A relay from the future.
  const newer = await relayOfVersion(2);
  expect(await failure({ token, url: newer.url })).toMatchObject({
    code: 'version',
    message: 'The relay speaks protocol version 2, this page version 1: this page is older than the relay.',
  });
  newer.close();
});
