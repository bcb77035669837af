/** Fail closed: with the wrong key nothing is seen, and without the worker nothing is sent. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { openBrowser, Person } from './lib/page.ts';
import { pause, Relay, say, until } from './lib/programs.ts';

let relay: Relay;
let browser: Browser;

beforeAll(async () => {
  relay = await Relay.start();
  browser = await openBrowser();
});

afterAll(async () => {
  await browser?.close();
  await relay?.stop();
});

/** A page with nothing but the SDK, in a call. */
async function laboratory(call: string, user: string): Promise<{ page: Page; joined: number }> {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${relay.url}/laboratory/laboratory.html`);
  const token = relay.token(call, user);
  const joined = await page.evaluate((args) => window.laboratory.join(...args), [call, user, token] as const);
  return { page, joined };
}

/** Feeds the camera of one page into another, whose receiver takes it for media of `member`. */
async function feed(from: Page, to: Page, member: number): Promise<void> {
  const offer = await from.evaluate(() => window.laboratory.offer());
  const answer = await to.evaluate((args) => window.laboratory.answer(...args), [offer, member] as const);
  await from.evaluate((text) => window.laboratory.accept(text), answer);
}

test('a page with the wrong key decodes nothing', async () => {
  // The right key: two pages of one call. The control without which the rest would mean nothing.
  const [ana, ben] = [await laboratory('one', 'Ana'), await laboratory('one', 'Ben')];
  await until('both in the roster', 5000, async () => (await ana.page.evaluate(() => window.laboratory.roster())) === 2);
  await ben.page.evaluate(() => window.laboratory.active());
  await feed(ana.page, ben.page, ana.joined);

  // Another call has another key; seats and order numbers are the same, so the frames look as if they belonged.
  const [cleo, dora, eve] = [await laboratory('two', 'Cleo'), await laboratory('two', 'Dora'), await laboratory('one', 'Eve')];
  await until('all in the roster', 5000, async () => (await ana.page.evaluate(() => window.laboratory.roster())) === 3);
  await until('two in the roster', 5000, async () => (await cleo.page.evaluate(() => window.laboratory.roster())) === 2);
  expect([cleo.joined, dora.joined]).toEqual([ana.joined, ben.joined]);
  const fingerprints = await Promise.all([ana, cleo].map(({ page }) => page.evaluate(() => window.laboratory.active())));
  expect(fingerprints[0]).not.toBe(fingerprints[1]);
  await feed(cleo.page, eve.page, ana.joined);

  // The right call, and a receiver that takes one member for another.
  const [fay, gus] = [await laboratory('one', 'Fay'), await laboratory('one', 'Gus')];
  await gus.page.evaluate(() => window.laboratory.active());
  await fay.page.evaluate(() => window.laboratory.active());
  await feed(fay.page, gus.page, ana.joined);

  await pause(4000);
  const decoded = (page: Page) => page.evaluate(() => window.laboratory.decoded());
  const [right, otherCall, otherMember] = [await decoded(ben.page), await decoded(eve.page), await decoded(gus.page)];
  say('');
  say('Video frames that arrived, that the worker let through, that were decoded, in 4 s:');
  for (const [name, { framesIn, framesOut, frames }] of [
    ['the right key', right],
    ['the key of another call', otherCall],
    ['the key of another member', otherMember],
  ] as const) {
    say(`  ${name.padEnd(28)} ${framesIn} arrived · ${framesOut} let through · ${frames} decoded`);
  }
  expect(right.frames).toBeGreaterThan(20);
  for (const wrong of [otherCall, otherMember]) {
    expect(wrong.framesIn).toBeGreaterThan(20);
    expect(wrong.framesOut).toBe(0);
    expect(wrong.frames).toBe(0);
  }
});

test('with the worker killed, no packet leaves', async () => {
  const [ana, ben] = [await Person.join(browser, relay, 'killed', 'Ana'), await Person.join(browser, relay, 'killed', 'Ben')];
  await ana.decrypts(1);
  await ben.decrypts(1);
  const [worker] = ana.page.workers();
  if (!worker) throw new Error('the page has no worker');
  const alive = await ana.counted();
  await pause(1000);
  const stillAlive = await ana.counted();
  await worker.evaluate(() => close()).catch(() => {});
  // What the encoder had already handed over leaves within a moment.
  await pause(300);
  const killed = await ana.counted();
  await pause(3000);
  const later = await ana.counted();
  say('');
  say(`Packets sent in 1 s with the worker: ${stillAlive.sent - alive.sent}; in 3 s after it was killed: ${later.sent - killed.sent}`);
  expect(stillAlive.sent - alive.sent).toBeGreaterThan(20);
  expect(later.sent - killed.sent).toBe(0);
  // And the person is told.
  await ana.page.getByRole('heading', { name: 'The encryption stopped' }).waitFor({ timeout: 20_000 });
  await ana.close();
  await ben.close();
});
