/** Fail closed: with the wrong key nothing is seen, and without the worker nothing is sent. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import type { Decoded } from './laboratory/laboratory.ts';
import { joinFromLaboratory, type Lab } from './lib/laboratory.ts';
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

const laboratory = (call: string, user: string): Promise<Lab> => joinFromLaboratory(browser, relay, call, user);

function decoded(page: Page): Promise<Decoded> {
  return page.evaluate(() => window.laboratory.decoded());
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
  // Three members in each, so that both are in the same epoch and the frames name a key that is there.
  const [cleo, dora, eve] = [await laboratory('two', 'Cleo'), await laboratory('two', 'Dora'), await laboratory('one', 'Eve')];
  await laboratory('two', 'Finn');
  for (const { page } of [ana, cleo]) {
    await until('three in the roster', 5000, async () => (await page.evaluate(() => window.laboratory.roster())) === 3);
  }
  expect([cleo.joined, dora.joined]).toEqual([ana.joined, ben.joined]);
  const fingerprints = await Promise.all([ana, cleo].map(({ page }) => page.evaluate(() => window.laboratory.active())));
  expect(fingerprints[0]).not.toBe(fingerprints[1]);
  await feed(cleo.page, eve.page, ana.joined);

  await pause(4000);
  const otherCall = await decoded(eve.page);

  // The right call, and a receiver that takes one member for another.
  const [fay, gus] = [await laboratory('one', 'Fay'), await laboratory('one', 'Gus')];
  await gus.page.evaluate(() => window.laboratory.active());
  await fay.page.evaluate(() => window.laboratory.active());
  await feed(fay.page, gus.page, ana.joined);

  await pause(4000);
  const [right, otherMember] = [await decoded(ben.page), await decoded(gus.page)];
  say('');
  say('Video frames that arrived, that the worker let through, that were decoded:');
  for (const [name, { framesIn, framesOut, frames, undecryptable, refused }] of [
    ['the right key', right],
    ['the key of another call', otherCall],
    ['the key of another member', otherMember],
  ] as const) {
    const why = `(${undecryptable} did not open under the key they name, ${refused} named another sender)`;
    say(`  ${name.padEnd(28)} ${framesIn} arrived · ${framesOut} let through · ${frames} decoded ${why}`);
  }
  expect(right.frames).toBeGreaterThan(20);
  for (const wrong of [otherCall, otherMember]) {
    expect(wrong.framesIn).toBeGreaterThan(20);
    expect(wrong.framesOut).toBe(0);
    expect(wrong.frames).toBe(0);
  }
  expect(otherCall.undecryptable).toBeGreaterThan(20);
  expect(otherMember.refused).toBeGreaterThan(20);
});

test('media that a browser sends past the worker is noticed, and the connection torn down', async () => {
  // A browser that ignores transforms without a word, and knows nothing of `encodedInsertableStreams`: what Chromium
  // does with a transform that comes late.
  const ignoreTransforms = (): void => {
    Object.defineProperty(RTCRtpSender.prototype, 'transform', { get: () => null, set: () => {} });
    window.RTCPeerConnection = new Proxy(window.RTCPeerConnection, {
      construct: (target, [config]: [RTCConfiguration]) => new target({ ...config, encodedInsertableStreams: false } as RTCConfiguration),
    });
  };
  const ana = await Person.open(browser, relay, 'leak', 'Ana', { before: ignoreTransforms });
  const ben = await Person.join(browser, relay, 'leak', 'Ben');
  await ana.enter();
  const started = performance.now();
  await ana.page.getByText('A connection was cut because its media was not encrypted').waitFor({ timeout: 10_000 });
  const noticed = performance.now() - started;
  const then = await ana.counted();
  await pause(2000);
  const later = await ana.counted();
  say('');
  say(`Media past the worker: noticed ${noticed.toFixed(0)} ms after the call was on the screen, ${later.sent - then.sent} packets in the 2 s after`);
  expect(later.sent - then.sent).toBe(0);
  // What arrived until then was no frame that any key opens: nothing of it was shown.
  expect((await ben.counted()).decoded).toBe(0);
  await ana.close();
  await ben.close();
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
