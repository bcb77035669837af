/** Firefox beside Chromium, in one call on the real page: each sees and hears the other, and neither what is not theirs. */

import type { Browser as Chromium, Page as ChromiumPage } from 'playwright-core';
import type { Browser as Firefox, Page as FirefoxPage } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { FirefoxPerson, firefoxProblem, openFirefox } from './lib/firefox.ts';
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
    await page.goto(`${relay.url}/laboratory/laboratory.html`);
    const args = [call, user, relay.token(call, user)] as const;
    return { page, joined: await ask(page, (of) => window.laboratory.join(...of), args) };
  }

  test('with the key of another call, neither decodes anything of the other', async () => {
    const pair = async (call: string): Promise<[Lab, Lab]> => [
      await laboratory(await (await chromium.newContext()).newPage(), call, 'Cleo'),
      await laboratory(await (await firefox.createBrowserContext()).newPage(), call, 'Finn'),
    ];
    const [cleo, finn] = await pair('one');
    const [otherCleo, otherFinn] = await pair('two');
    // Seats, order numbers and epochs are the same in both calls: the frames name a key that is there.
    expect([otherCleo.joined, otherFinn.joined]).toEqual([cleo.joined, finn.joined]);
    for (const { page } of [cleo, finn, otherCleo, otherFinn]) {
      await until('two in the roster', 5000, async () => (await ask(page, () => window.laboratory.roster(), undefined)) === 2);
      await ask(page, () => window.laboratory.active(), undefined);
    }
    say('');
    for (const [name, from, to] of [['Chromium to Firefox', cleo, otherFinn], ['Firefox to Chromium', finn, otherCleo]] as const) {
      const offer = await ask(from.page, () => window.laboratory.offer(), undefined);
      const answer = await ask(to.page, (args) => window.laboratory.answer(...args), [offer, from.joined] as const);
      await ask(from.page, (text) => window.laboratory.accept(text), answer);
      await pause(3000);
      const { framesIn, framesOut, frames, undecryptable } = await ask(to.page, () => window.laboratory.decoded(), undefined);
      say(`  ${name}, the key of another call: ${framesIn} arrived · ${framesOut} let through · ${frames} decoded (${undecryptable} did not open)`);
      expect(undecryptable).toBeGreaterThan(20);
      expect([framesOut, frames]).toEqual([0, 0]);
    }
  });
});

type Page = ChromiumPage | FirefoxPage;
interface Lab {
  readonly page: Page;
  readonly joined: number;
}

/** The same question to a page, whoever drives it. */
async function ask<A, R>(page: Page, question: (argument: A) => R | Promise<R>, argument: A): Promise<R> {
  return (page as { evaluate(question: (argument: A) => R | Promise<R>, argument: A): Promise<R> }).evaluate(question, argument);
}
