/** What goes wrong around a call, with pages: the call goes on, and each page says what is going on. */

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { Network } from './lib/network.ts';
import { openBrowser, Person } from './lib/page.ts';
import { pause, Relay, say, until } from './lib/programs.ts';

/** A picture that stands still for longer is frozen to whoever looks at it. */
const FROZEN = 1500;
/** Windows that cost little to draw. */
const SMALL = { width: 800, height: 600 };

let relay: Relay;
let browser: Browser;

beforeAll(async () => {
  relay = await Relay.start();
  // Four pages encode and decode twelve pictures: what is measured is the call, not the machine.
  browser = await openBrowser({ rate: 8 });
});

afterAll(async () => {
  await browser?.close();
  await relay?.stop();
});

/** Each sees all the others that are named, and has since they are watched. */
async function flowing(people: readonly Person[], when: string): Promise<void> {
  for (const person of people) {
    const seen = await person.pictures();
    const words = seen.map(({ name, still, shown }) => `${name} ${shown} pictures, still for ${still.toFixed(0)} ms at most`);
    say(`  ${when}, ${person.name} sees: ${words.join('; ')}`);
    expect(seen).toHaveLength(people.length - 1);
    for (const { still, shown } of seen) {
      expect(still).toBeLessThan(FROZEN);
      expect(shown).toBeGreaterThan(10);
    }
  }
}

async function watch(people: readonly Person[]): Promise<void> {
  for (const person of people) await person.watchPictures(people.filter((other) => other !== person).map(({ name }) => name));
}

test('the tab of the lead is killed in a call of four without a bot: nobody’s picture freezes, and all see who leads now', async () => {
  const people: Person[] = [];
  for (const name of ['Ana', 'Ben', 'Cleo', 'Dora']) people.push(await Person.join(browser, relay, 'killed', name, { viewport: SMALL }));
  for (const person of people) await person.decrypts(3, 40_000);
  const [ana, ...others] = people as [Person, Person, Person, Person];
  const [ben] = others;
  for (const person of others) expect((await person.leads()).map((text) => text.slice(0, 3))).toEqual(['Ana', 'Ana']);
  const before = await Promise.all(others.map((person) => person.counted()));
  await watch(others);
  await pause(4000);
  await flowing(others, 'before it');
  await ana.crash();
  const killed = performance.now();
  for (const person of others) {
    const name = person === ben ? 'Ben (you)' : 'Ben';
    await until(`${person.name} showing that Ben leads`, 5000, async () => (await person.leads()).some((text) => text.startsWith(name)));
    expect(await person.notice()).toBe(person === ben ? 'You lead the call now.' : 'Ben leads the call now.');
  }
  say(`\nThe tab of the lead was killed: every page showed who leads now ${(performance.now() - killed).toFixed(0)} ms later`);
  for (const person of others) {
    await until(`${person.name} saying that Ana is away`, 5000, async () => (await person.page.locator('.tile', { hasText: 'Ana is away' }).count()) === 1);
  }
  // Nobody comes back for the seat: ten seconds later it is a leave.
  for (const person of others) {
    await until(`${person.name} without Ana`, 20_000, async () => (await person.page.locator('.person').count()) === 3);
  }
  await pause(2000);
  await flowing(others, 'through it all');
  const after = await Promise.all(others.map((person) => person.counted()));
  for (const [i, { decoded, undecryptable }] of after.entries()) {
    expect(decoded - (before[i]?.decoded ?? 0)).toBeGreaterThan(100);
    expect(undecryptable).toBe(0);
  }
  expect(new Set(await Promise.all(others.map((person) => person.code()))).size).toBe(1);
  for (const person of others) await person.close();
});

test('a page whose network goes for five seconds says so, comes back to the same key, and no picture stops', async () => {
  const network = await Network.to(relay);
  const ana = await Person.join(browser, relay, 'gap', 'Ana', { viewport: SMALL });
  const ben = await Person.join(browser, relay, 'gap', 'Ben', { via: network.url, viewport: SMALL });
  const people = [ana, ben];
  for (const person of people) await person.decrypts(1);
  await pause(2000);
  const [key, code] = [await ben.key(), await ben.code()];
  await watch(people);
  network.cut();
  await until('the loss in words', 5000, async () => (await ben.notice()) === 'Connection lost, reconnecting. Your call goes on.');
  await until('Ana knowing', 5000, async () => (await ana.page.locator('.tile', { hasText: 'Ben is away' }).count()) === 1);
  await pause(3500);
  network.mend();
  const mended = performance.now();
  await until('the return in words', 5000, async () => (await ben.notice()) === 'Back.');
  say(`\nA network was gone for five seconds: the page was back ${(performance.now() - mended).toFixed(0)} ms after it`);
  await until('Ana knowing', 5000, async () => (await ana.page.locator('.tile', { hasText: 'is away' }).count()) === 0);
  await pause(1000);
  expect([await ben.key(), await ben.code()]).toEqual([key, code]);
  await flowing(people, 'through the gap');
  const said = ben.wire.map((text) => /^\{"(\w+)"/.exec(text)?.[1]);
  expect([said.filter((name) => name === 'join').length, said.filter((name) => name === 'resume').length]).toEqual([1, 1]);

  // A gap that nobody could notice is not talked about.
  await until('nothing being said any more', 10_000, async () => (await ben.notice()) === '');
  network.cut();
  await pause(100);
  network.mend();
  const end = Date.now() + 3000;
  while (Date.now() < end) {
    expect(await ben.notice()).toBe('');
    await pause(50);
  }
  expect(await ben.key()).toBe(key);
  for (const person of people) await person.close();
  network.close();
});

test('a page whose seat is gone joins again by itself', async () => {
  const network = await Network.to(relay);
  const ana = await Person.join(browser, relay, 'lost', 'Ana', { viewport: SMALL });
  const ben = await Person.join(browser, relay, 'lost', 'Ben', { via: network.url, viewport: SMALL });
  await ben.decrypts(1);
  network.cut();
  await until('Ana alone', 20_000, async () => (await ana.page.locator('.person').count()) === 1);
  network.mend();
  await until('the second join in words', 8000, async () => (await ben.notice()) === 'Back.');
  await ana.decrypts(1);
  await ben.decrypts(1);
  expect(await ana.code()).toBe(await ben.code());
  await ana.close();
  await ben.close();
  network.close();
});
