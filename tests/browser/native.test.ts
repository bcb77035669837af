/** A native participant beside pages: what it publishes is seen and heard in both browsers, and what they send it opens. */

import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Browser as Chromium } from 'playwright-core';
import type { Browser as Firefox } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { FirefoxPerson, firefoxProblem, openFirefox } from './lib/firefox.ts';
import { openBrowser, Person } from './lib/page.ts';
import { CLIPS, SOUND, streams, type Codec } from './lib/native.ts';
import { Relay, say, until } from './lib/programs.ts';

const { problem, undo } = firefoxProblem();
if (problem !== undefined) say(`\nSKIPPED: a native participant beside Firefox: ${problem}`);

let relay: Relay;
let chromium: Chromium;
let firefox: Firefox | undefined;

beforeAll(async () => {
  relay = await Relay.start();
  chromium = await openBrowser();
  firefox = problem === undefined ? await openFirefox() : undefined;
});

afterAll(async () => {
  await firefox?.close();
  await chromium?.close();
  await relay?.stop();
  undo();
});

async function both(codec: Codec, browser: string, join: (call: string) => Promise<Person | FirefoxPerson>): Promise<void> {
  const call = `native-${browser}-${codec}`;
  const page = await join(call);
  const clips = ['--publish', CLIPS[codec], '--publish-audio', SOUND];
  const native = await relay.join(call, 'Nora', ...clips, '--report', '1s');
  let counted = await page.counted();
  await until(`${codec} from the native publisher in ${browser}: ${JSON.stringify(counted)} ${JSON.stringify(await page.others())}`, 30_000, async () => {
    counted = await page.counted();
    return counted.decoded >= 60 && counted.heard >= 96_000;
  });
  await until('both streams of the page', 15_000, () => streams(native).filter(({ opened }) => opened >= 60).length === 2);
  const seen = await page.codecs();
  say(`  ${codec.padEnd(4)} native to ${browser.padEnd(8)}: ${counted.decoded} pictures decoded, ${counted.heard} samples heard, ${counted.undecryptable} undecryptable`);
  for (const { format, frames_in: arrived, opened, undecryptable } of streams(native)) {
    say(`       ${browser} to native: ${format} ${arrived} frames arrived, ${opened} opened, ${undecryptable} undecryptable`);
    expect(undecryptable).toBe(0);
  }
  expect(streams(native).map(({ format }) => format).toSorted()).toEqual([codec.toLowerCase(), 'opus'].toSorted());
  expect(counted.undecryptable).toBe(0);
  expect(seen).toContain(`video/${codec}`);
  await native.stop();
  await page.close();
}

describe.each(Object.keys(CLIPS) as Codec[])('%s and Opus', (codec) => {
  test('from a native publisher to Chromium, and back', async () => {
    say('');
    await both(codec, 'Chromium', (call) => Person.join(chromium, relay, call, 'Cleo', { query: `&codecs=${codec}` }));
  });

  test.skipIf(problem !== undefined)('from a native publisher to Firefox, and back', async () => {
    const fox = firefox;
    if (!fox) throw new Error('no Firefox');
    if (codec === 'H264' && !(await decodes(fox, codec))) return say('  H264 native to Firefox: skipped, this Firefox has no H264');
    await both(codec, 'Firefox', (call) => FirefoxPerson.join(fox, relay, call, 'Finn', `&codecs=${codec}`));
  });
});

test('a native recorder is shown to be one, and keeps what a page sends', async () => {
  const folder = mkdtempSync(`${tmpdir()}/conclave-native-`);
  try {
    const ana = await Person.join(chromium, relay, 'native-recorder', 'Ana');
    const recorder = await relay.join('native-recorder', 'Archive', '--record', folder, '--report', '1s');
    await ana.page.locator('.recorders-chip', { hasText: 'Recording: Archive' }).waitFor({ timeout: 10_000 });
    await until('frames to record', 20_000, () => streams(recorder).filter(({ opened }) => opened >= 40).length === 2);
    await recorder.stop();
    await until('nobody recording any more', 15_000, async () => (await ana.page.locator('.recorders-chip').count()) === 0);
    const files = readdirSync(folder).map((name) => [name.split('.').at(-1), statSync(`${folder}/${name}`).size > 5000]);
    expect(files.toSorted()).toEqual([['ivf', true], ['ogg', true]]);
    await ana.close();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

async function decodes(browser: Firefox, codec: Codec): Promise<boolean> {
  const page = await browser.newPage();
  await page.goto(relay.url);
  const has = await page.evaluate((mime) => (RTCRtpReceiver.getCapabilities('video')?.codecs ?? []).some(({ mimeType }) => mimeType.toUpperCase() === mime), `VIDEO/${codec}`);
  await page.close();
  return has;
}
