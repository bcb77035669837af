/** Firefox beside Chromium, in one call on the real page: each sees and hears the other, and neither what is not theirs. */

import type { Browser as Chromium, Page as ChromiumPage } from 'playwright-core';
import type { Browser as Firefox, Page as FirefoxPage } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import type { VideoCodec } from '../../web/src/index.ts';
import type { Decoded } from './laboratory/laboratory.ts';
import { FirefoxPerson, firefoxProblem, openFirefox } from './lib/firefox.ts';
import { remember } from './lib/leftovers.ts';
import { openBrowser, Person } from './lib/page.ts';
import { pause, Relay, say, until } from './lib/programs.ts';

const { problem, undo } = firefoxProblem();
if (problem !== undefined) say(`\nSKIPPED, all of it: Firefox beside Chromium: ${problem}`);

describe.skipIf(problem !== undefined)('Firefox beside Chromium', () => {
  let relay: Relay;
  let chromium: Chromium;
  let firefox: Firefox;

  beforeAll(async () => {
    relay = await Relay.start();
    chromium = await openBrowser();
    firefox = await openFirefox();
  });

  afterAll(async () => {
    await firefox?.close();
    await chromium?.close();
    await relay?.stop();
    undo();
  });

  for (const first of ['Chromium', 'Firefox']) {
    test(`${first} came first: both see and hear`, async () => {
      const call = `first-${first}`;
      const joins = {
        Chromium: () => Person.join(chromium, relay, call, 'Cleo'),
        Firefox: () => FirefoxPerson.join(firefox, relay, call, 'Finn'),
      };
      const people: (Person | FirefoxPerson)[] = [];
      for (const browser of first === 'Chromium' ? (['Chromium', 'Firefox'] as const) : (['Firefox', 'Chromium'] as const)) people.push(await joins[browser]());
      for (const person of people) await person.decrypts(1);
      const before = await Promise.all(people.map((person) => person.counted()));
      await pause(4000);
      const after = await Promise.all(people.map((person) => person.counted()));
      say('');
      for (const [i, person] of people.entries()) {
        const [then, now] = [before[i], after[i]];
        const decoded = (now?.decoded ?? 0) - (then?.decoded ?? 0);
        const heard = (now?.heard ?? 0) - (then?.heard ?? 0);
        const browser = person instanceof Person ? 'Chromium' : 'Firefox';
        say(`  ${browser.padEnd(8)} (${person === people[0] ? 'first' : 'second'}): ${decoded} pictures and ${heard} samples of sound in 4 s, ${now?.undecryptable} undecryptable`);
        expect(decoded).toBeGreaterThan(20);
        expect(heard).toBeGreaterThan(48_000);
        expect(now?.undecryptable).toBe(0);
        expect(person.complaints).toEqual([]);
      }
      expect(new Set(await Promise.all(people.map((person) => person.code()))).size).toBe(1);
      for (const person of people) await person.close();
    });
  }

  /** A page with nothing but the SDK, in a call. */
  async function laboratory(page: Page, call: string, user: string): Promise<Lab> {
    remember(page);
    await page.goto(`${relay.url}/laboratory/laboratory.html`);
    const args = [call, user, relay.token(call, user)] as const;
    return { page, joined: await ask(page, (of) => window.laboratory.join(...of), args) };
  }

  /** Two in Chromium and one in Firefox, all in one call. */
  async function trio(call: string): Promise<Trio> {
    const [cleo, finn, dora] = [
      await laboratory(await (await chromium.newContext()).newPage(), call, 'Cleo'),
      await laboratory(await (await firefox.createBrowserContext()).newPage(), call, 'Finn'),
      await laboratory(await (await chromium.newContext()).newPage(), call, 'Dora'),
    ];
    for (const { page } of [cleo, finn, dora]) {
      await until('three in the roster', 5000, async () => (await ask(page, () => window.laboratory.roster(), undefined)) === 3);
      await ask(page, () => window.laboratory.active(), undefined);
    }
    return { cleo, finn, dora };
  }

  /** Feeds camera and microphone of one page into another until `enough`, and tells what came of it. */
  async function feed(codec: VideoCodec, from: Lab, to: Lab, enough: (now: Decoded) => boolean): Promise<Decoded> {
    const before = await ask(to.page, () => window.laboratory.decoded(), undefined);
    const offer = await ask(from.page, (name) => window.laboratory.offer(name), codec);
    const answer = await ask(to.page, (args) => window.laboratory.answer(...args), [offer, from.joined] as const);
    await ask(from.page, (text) => window.laboratory.accept(text), answer);
    let now = before;
    await until(`frames in ${codec}`, 20_000, async () => {
      const all = await ask(to.page, () => window.laboratory.decoded(), undefined);
      // Of a connection that is over nothing but what the core counted is left.
      now = { ...all, undecryptable: all.undecryptable - before.undecryptable, refused: all.refused - before.refused };
      return enough(now);
    });
    return now;
  }

  test('every codec that both have, both ways and within Chromium: decoded with the right key, nothing with another', async () => {
    const [one, two] = [await trio('one'), await trio('two')];
    // Seats, order numbers and epochs are the same in both calls: the frames name a key that is there.
    for (const name of ['cleo', 'finn', 'dora'] as const) expect(two[name].joined).toBe(one[name].joined);
    say('');
    for (const codec of ['vp8', 'vp9', 'av1', 'h264'] as const) {
      for (const [way, from, to, other] of [
        ['Chromium to Firefox', one.cleo, one.finn, two.finn],
        ['Firefox to Chromium', one.finn, one.cleo, two.cleo],
        ['Chromium to Chromium', one.cleo, one.dora, two.dora],
      ] as const) {
        const have = await Promise.all([from, to].map(({ page }) => ask(page, (name) => window.laboratory.sends(name), codec)));
        const title = `  ${codec.toUpperCase().padEnd(4)} ${way.padEnd(20)}`;
        if (have.includes(false)) {
          say(`${title} skipped: a browser here has no ${codec.toUpperCase()}`);
          continue;
        }
        const right = await feed(codec, from, to, ({ frames, heard }) => frames >= 30 && heard >= 96_000);
        const wrong = await feed(codec, from, other, ({ undecryptable }) => undecryptable >= 60);
        const words = ({ frames, heard, undecryptable }: Decoded): string => `${frames} pictures decoded, ${heard} samples heard, ${undecryptable} undecryptable`;
        say(`${title} right key: ${words(right)}; wrong key: ${words(wrong)}`);
        expect(right.codecs).toEqual(['audio/opus', `video/${codec.toUpperCase()}`]);
        expect([right.undecryptable, right.refused]).toEqual([0, 0]);
        expect([wrong.framesOut, wrong.frames, wrong.heard]).toEqual([0, 0, 0]);
      }
    }
  });
});

type Page = ChromiumPage | FirefoxPage;
interface Trio {
  readonly cleo: Lab;
  readonly finn: Lab;
  readonly dora: Lab;
}
interface Lab {
  readonly page: Page;
  readonly joined: number;
}

/** The same question to a page, whoever drives it. */
async function ask<A, R>(page: Page, question: (argument: A) => R | Promise<R>, argument: A): Promise<R> {
  return (page as { evaluate(question: (argument: A) => R | Promise<R>, argument: A): Promise<R> }).evaluate(question, argument);
}
