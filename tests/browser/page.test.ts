/** What a person sees: every screen looked at by axe, screenshots for human eyes, and words for what goes wrong. */

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { findings, look } from './lib/look.ts';
import { FOREIGN_NAME, openBrowser, Person } from './lib/page.ts';
import { SCREENSHOTS } from './lib/paths.ts';
import { pause, Relay, say, type Program } from './lib/programs.ts';

let relay: Relay;
let browser: Browser;
let bot: Program;

beforeAll(async () => {
  relay = await Relay.start();
  browser = await openBrowser();
  bot = await relay.lead('demo');
});

afterAll(async () => {
  await browser?.close();
  await bot?.stop();
  await relay?.stop();
});

test('lobby and call are fit to be used by everybody', async () => {
  const ana = await Person.open(browser, relay, 'demo', 'Ana Berg');
  await ana.page.locator('.preview video:not(.unseen)').waitFor();
  await look(ana, 'lobby');
  await ana.press('Join');
  await ana.page.locator('.room').waitFor();
  await look(ana, 'alone');
  const ben = await Person.join(browser, relay, 'demo', 'Ben');
  const cleo = await Person.join(browser, relay, 'demo', 'Cleo');
  await ana.decrypts(2);
  await cleo.press('Turn camera off');
  await cleo.press('Mute microphone');
  const dora = await Person.join(browser, relay, 'demo', 'Dora');
  await dora.close();
  await pause(2500);
  await look(ana, 'call');
  expect(ana.complaints).toEqual([]);
  // The looking itself works: a button without a name would be found.
  await ana.page.evaluate(() => document.querySelector('main')?.append(document.createElement('button')));
  expect(await findings(ana.page)).toEqual([expect.stringContaining('button-name')]);
  await ana.page.evaluate(() => document.querySelector('main > button')?.remove());
  say('\naxe-core: no serious or critical finding on lobby and call, at three sizes, dark and light');

  // Keyboard alone: the way to the switches, and out of the call.
  await ana.page.getByRole('button', { name: 'Mute microphone' }).focus();
  await ana.page.keyboard.press('Enter');
  await ana.page.getByRole('button', { name: 'Unmute microphone' }).waitFor();
  await ben.page.locator('.tile[data-kind=decrypting]', { hasText: 'Muted' }).first().waitFor();
  await ana.page.getByRole('button', { name: 'Leave the call' }).focus();
  await ana.page.keyboard.press('Enter');
  await ana.page.getByRole('heading', { name: 'You left the call' }).waitFor();
  await look(ana, 'left');
  for (const person of [ana, ben, cleo]) await person.close();
});

test('without a camera one can join, watch and listen', async () => {
  const blind = await openBrowser({ camera: false });
  try {
    const ana = await Person.join(browser, relay, 'quiet', 'Ana');
    const ben = await Person.open(blind, relay, 'quiet', 'Ben');
    await ben.page.getByText('Camera and microphone are not allowed').waitFor();
    await look(ben, 'no-camera');
    await ben.press('Join');
    await ben.page.locator('.room').waitFor();
    await ana.page.locator('.person', { hasText: 'Ben' }).waitFor();
    await ana.close();
    await ben.close();
  } finally {
    await blind.close();
  }
});

test('a relay that goes away is waited for, and found again', async () => {
  const own = await Relay.start();
  const [ana, ben] = [await Person.join(browser, own, 'demo', 'Ana'), await Person.join(browser, own, 'demo', 'Ben')];
  await ana.decrypts(1);
  const [key, code] = [await ana.key(), await ana.code()];
  await own.stop();
  await ana.page.getByText('Connection lost, reconnecting. Your call goes on.').waitFor();
  await look(ana, 'away');
  const again = await Relay.start({}, own.port, own.secret);
  await ana.page.getByText('Back.', { exact: true }).waitFor();
  await ben.decrypts(1);
  // A relay that knew nothing has everybody back, and nobody has another key.
  expect([await ana.key(), await ana.code()]).toEqual([key, code]);
  await ana.close();
  await ben.close();
  await again.stop();
});

test('a full call, a refused token and a relay that wants one are said in words', async () => {
  const small = await Relay.start({ CONCLAVE_MAX_MEMBERS: '1' });
  const ana = await Person.join(browser, small, 'demo', 'Ana');
  const ben = await Person.open(browser, small, 'demo', 'Ben');
  await ben.press('Join');
  await ben.page.getByRole('heading', { name: 'The call is full' }).waitFor();
  await ana.close();
  await ben.press('Try again');
  await ben.page.locator('.room').waitFor();
  await ben.close();
  await small.stop();

  const strict = await Relay.start({ CONCLAVE_DEV: 'false' });
  const eve = await Person.open(browser, strict, 'demo', 'Eve');
  await eve.press('Join');
  await eve.page.getByText('This relay wants an access token').waitFor();
  await eve.page.getByLabel('Access token').fill('not.a.token');
  await eve.press('Join');
  await eve.page.getByText('Your access was refused').waitFor();
  await eve.page.getByLabel('Access token').fill(strict.token('other', 'Eve'));
  await eve.press('Join');
  await eve.page.getByText('This access is for another call').waitFor();
  expect(await findings(eve.page)).toEqual([]);
  await eve.page.screenshot({ path: `${SCREENSHOTS}/token-desktop.png` });
  await eve.page.getByLabel('Access token').fill(strict.token('demo', 'Eve'));
  await eve.press('Join');
  await eve.page.locator('.room').waitFor();
  await eve.close();
  await strict.stop();
});

test('a page without https is told so', async () => {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`http://${FOREIGN_NAME}:${relay.port}/?call=demo`);
  await page.getByRole('heading', { name: 'This page was not loaded securely' }).waitFor();
  await page.getByText('Open the same address with https:// in front.').waitFor();
  expect(await findings(page)).toEqual([]);
  await page.close();
});

test('a browser that cannot protect a call is told so, before it is asked for anything', async () => {
  const context = await browser.newContext();
  await context.addInitScript(() => {
    Reflect.deleteProperty(globalThis, 'RTCRtpScriptTransform');
    // Nor the older way.
    for (const { prototype } of [RTCRtpSender, RTCRtpReceiver]) Reflect.deleteProperty(prototype, 'createEncodedStreams');
  });
  const page = await context.newPage();
  await page.goto(`${relay.url}/?call=demo`);
  await page.getByRole('heading', { name: 'This browser cannot protect a call' }).waitFor();
  await page.getByText('it has no RTCRtpScriptTransform').waitFor();
  await context.close();
});
