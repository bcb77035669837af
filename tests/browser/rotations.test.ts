/**
 * The key is changed as fast as the lead does it, in a call of a page and two native participants that all send pictures and
 * sound: nobody loses a frame to a key, and no picture stands still oftener than without it. `ROTATIONS=1000` for the long run.
 */

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { LossyNetwork } from './lib/loss.ts';
import { CLIPS, SOUND, streams } from './lib/native.ts';
import { openBrowser, Person } from './lib/page.ts';
import { pause, Relay, say, until } from './lib/programs.ts';

const ROTATIONS = Number(process.env['ROTATIONS'] ?? 30);
/** How often a new key is asked for: the lead paces itself, so that no key is wiped that frames may still name. */
const PERIOD = 100;

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

/** The number of keys since the call began. */
async function keys(person: Person): Promise<number> {
  return Number(/Key \d+\.(\d+) /.exec(await person.key())?.[1] ?? Number.NaN);
}

test.each([0, 5])(`${ROTATIONS} new keys while pictures and sound flow, with %i packets of a hundred lost`, { timeout: 120_000 + ROTATIONS * 1000 }, async (percent) => {
  const call = `rotations-${percent}`;
  const network = new LossyNetwork(percent);
  const page = await Person.join(browser, relay, call, 'Ana', percent === 0 ? {} : { network });
  const natives = [];
  for (const name of ['n1', 'n2']) natives.push(await relay.join(call, name, '--publish', CLIPS.VP8, '--publish-audio', SOUND, '--report', '1s'));
  await page.decrypts(2);
  await pause(2000);

  const began = performance.now();
  const [first, before] = [await keys(page), await page.counted()];
  await page.page.evaluate((period) => {
    const button = [...document.querySelectorAll('button')].find(({ textContent }) => textContent.includes('Change it now'));
    Reflect.set(globalThis, 'rotating', setInterval(() => button?.click(), period));
  }, PERIOD);
  await until(`${ROTATIONS} new keys`, 60_000 + ROTATIONS * 900, async () => (await keys(page)) - first >= ROTATIONS);
  await page.page.evaluate(() => clearInterval(Reflect.get(globalThis, 'rotating') as number));
  const lasted = performance.now() - began;
  const [last, during] = [await keys(page), await page.counted()];
  // The same again, with one key all along.
  await pause(lasted);
  const after = await page.counted();

  const [changed, quiet] = [during.freezes - before.freezes, after.freezes - during.freezes];
  say('');
  if (percent > 0) say(`Of ${network.packets} packets between the page and the others, ${network.lost} were lost.`);
  say(`${last - first} new keys in ${(lasted / 1000).toFixed(1)} s (${((1000 * (last - first)) / lasted).toFixed(1)} a second), then as long without any:`);
  say(`  page: ${during.decoded - before.decoded} and ${after.decoded - during.decoded} pictures decoded, ${changed} and ${quiet} freezes, ${after.undecryptable} undecryptable, ${after.keyless} without a key in time`);
  await pause(1500);
  for (const native of natives) {
    for (const { user, format, frames_in: arrived, opened, undecryptable, duplicates, dropped } of streams(native)) {
      say(`  native, ${format} of ${user}: ${arrived} frames arrived, ${opened} opened, ${undecryptable} undecryptable, ${duplicates} duplicates, ${dropped} dropped`);
      // With losses this is about the page: what a native receiver makes of them has tests of its own.
      if (percent === 0) expect([opened + duplicates, undecryptable, dropped]).toEqual([arrived, 0, 0]);
    }
  }
  expect([after.undecryptable, after.keyless]).toEqual([0, 0]);
  if (percent === 0) {
    // One may come of a machine that is busy with other things, in either half.
    expect(changed).toBeLessThanOrEqual(quiet + 1);
    expect(during.decoded - before.decoded).toBeGreaterThan((after.decoded - during.decoded) * 0.9);
  } else {
    // Lost packets stop pictures by chance; that keys have no part in it is what the counters say.
    expect(network.lost / network.packets).toBeGreaterThan(0.04);
    expect(during.decoded - before.decoded).toBeGreaterThan(50);
  }
  for (const native of natives) await native.stop();
  await page.close();
  await network.close();
});
