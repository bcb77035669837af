/**
 * The whole thing: a headless lead bot and three pages with cameras, then twenty joins and leaves, five of them by
 * pages. Nobody who stays may lose a frame to a key.
 */

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import type { Counted, Refused } from './lib/in_page.ts';
import { openBrowser, Person } from './lib/page.ts';
import { pause, Relay, say, until, type Program } from './lib/programs.ts';

const CALL = 'demo';

let relay: Relay;
let browser: Browser;
const programs: Program[] = [];

beforeAll(async () => {
  relay = await Relay.start();
  browser = await openBrowser();
});

afterAll(async () => {
  await browser?.close();
  for (const program of programs) await program.stop();
  await relay?.stop();
});

type Count = Counted & Refused;

async function count(people: readonly Person[]): Promise<Count[]> {
  const counts: Count[] = [];
  for (const person of people) counts.push(await person.counted());
  return counts;
}

function report(when: string, people: readonly Person[], now: readonly Count[], before?: readonly Count[]): void {
  for (const [i, { name }] of people.entries()) {
    const { decoded = 0, undecryptable, keyless } = now[i] ?? {};
    const fresh = String(decoded - (before?.[i]?.decoded ?? 0)).padStart(5);
    say(`  ${when.padEnd(28)} ${name.padEnd(5)} ${fresh} decoded, ${undecryptable} undecryptable, ${keyless} without a key in time`);
  }
}

/** Ten comings and ten goings: two pages come, three go (one of the first three included), the rest are native. */
async function churn(last: Person): Promise<number> {
  let changes = 0;
  const natives: Program[] = [];
  const pages: Person[] = [];
  const come = async (name: string, asPage: boolean): Promise<void> => {
    if (asPage) pages.push(await Person.join(browser, relay, CALL, name));
    else natives.push(await relay.join(CALL, name));
    changes += 1;
  };
  const go = async (asPage: boolean): Promise<void> => {
    if (asPage) await pages.shift()?.close();
    else await natives.shift()?.stop();
    changes += 1;
  };
  for (const [kind, name] of [
    ['come', 'Dora'], ['come', 'n1'], ['go', ''], ['come', 'n2'], ['come', 'n3'], ['go', ''], ['come', 'n4'], ['go', ''],
    ['leave', ''], ['come', 'Emil'], ['come', 'n5'], ['go', ''], ['go', ''], ['come', 'n6'], ['leave', ''], ['come', 'n7'], ['go', ''], ['come', 'n8'], ['go', ''],
  ] as const) {
    if (kind === 'come') await come(name, name === 'Dora' || name === 'Emil');
    else await go(kind === 'leave');
    await pause(150);
  }
  await last.close();
  changes += 1;
  programs.push(...natives);
  return changes;
}

/** No page wrote its token or connection data to its console; the same search finds a token that is planted. */
async function wroteNothing(people: readonly Person[]): Promise<void> {
  const leaks = ({ wire, written, complaints }: Person): string[] => {
    const token = /"token":"([^"]+)"/.exec(wire.join('\n'))?.[1] ?? '';
    expect(token.length).toBeGreaterThan(40);
    return [...written, ...complaints].filter((text) => text.includes(token) || /ice-ufrag|"join":|"sealed"/.test(text));
  };
  expect(people.flatMap(leaks)).toEqual([]);
  for (const person of people.slice(0, 1)) {
    const token = /"token":"([^"]+)"/.exec(person.wire.join('\n'))?.[1];
    await person.page.evaluate((text) => Reflect.get(globalThis, 'console').debug(text), `planted: ${token}`);
    await until('the planted token', 5000, async () => leaks(person).length === 1);
  }
}

test('three pages and a bot, through twenty joins and leaves', async () => {
  programs.push(await relay.lead(CALL));
  const people: Person[] = [];
  for (const name of ['Ana', 'Ben', 'Cleo']) people.push(await Person.join(browser, relay, CALL, name));
  const [ana, ben, cleo] = people as [Person, Person, Person];
  for (const person of people) await person.decrypts(2);

  const codes = new Set(await Promise.all(people.map((person) => person.code())));
  expect(codes.size).toBe(1);
  await expect(ana.page.locator('.person', { hasText: 'bot' }).locator('.lead').count()).resolves.toBe(1);

  // Connection data never reaches the relay in clear, and no other codec is spoken.
  expect(ana.wire.filter((text) => text.includes('"message"')).length).toBeGreaterThan(4);
  expect(ana.wire.filter((text) => /rtpmap|ice-ufrag|typ host|fingerprint:sha/.test(text))).toEqual([]);
  expect(await ana.codecs()).toEqual(['audio/opus', 'video/VP8']);

  say('');
  say('Pictures of the others that each page decoded, and frames of video and sound that no key opened since its first key:');
  await pause(3000);
  const before = await count(people);
  report('before (since the join)', people, before);
  const started = performance.now();
  const changes = await churn(cleo);
  const staying = [ana, ben];
  const during = await count(staying);
  const seconds = (performance.now() - started) / 1000;
  report(`during ${changes} joins and leaves`, staying, during, before);
  await pause(3000);
  const after = await count(staying);
  report('after, in 3 s', staying, after, during);
  say(`  ${changes} changes in ${seconds.toFixed(1)} s; ${await ana.key()}`);

  expect(changes).toBe(20);
  for (const [i, person] of staying.entries()) {
    expect(before[i]?.decoded).toBeGreaterThan(20);
    expect((during[i]?.decoded ?? 0) - (before[i]?.decoded ?? 0)).toBeGreaterThan(20);
    expect((after[i]?.decoded ?? 0) - (during[i]?.decoded ?? 0)).toBeGreaterThan(20);
    expect(after[i]?.undecryptable).toBe(0);
    // A machine that is busy with other things may hand over a key later than a frame waits; one in a hundred is no pause.
    expect(after[i]?.keyless).toBeLessThan((after[i]?.decoded ?? 0) / 100);
    // The strip has a mark for each key since the join.
    const marks = await person.page.locator('.mark-of').count();
    expect(marks).toBeGreaterThan(15);
    // The list says in words what the strip shows, to those who open it.
    await person.page.locator('summary', { hasText: 'keys since you joined' }).click();
    await until('a line for each mark', 5000, async () => (await person.page.locator('.history > li').count()) >= marks);
    expect(person.complaints).toEqual([]);
  }
  await wroteNothing([ana, ben, cleo]);
});

test('a third tab ratchets, closing it makes a new session, and without a bot the first page leads', async () => {
  const call = 'no-bot';
  const [ana, ben] = [await Person.join(browser, relay, call, 'Ana'), await Person.join(browser, relay, call, 'Ben')];
  await ana.decrypts(1);
  await expect(ana.page.locator('.person[data-presence=me] .lead').count()).resolves.toBe(1);
  const eva = await Person.join(browser, relay, call, 'Eva');
  await ana.decrypts(2);
  const now = (): Promise<string> => ana.page.locator('.key-now').innerText();
  await until('the ratchet in words', 5000, async () => (await now()).includes('Eva joined: the key moved one step on.'));
  const code = await ana.code();
  const left = performance.now();
  await eva.close();
  await until('the new session in words', 5000, async () => (await now()).includes('Eva left: everybody has a new key.'));
  say(`\nA tab closed: everybody else has a new key ${(performance.now() - left).toFixed(0)} ms later`);
  // The page said goodbye before it went, signed.
  expect(ben.wire.some((text) => text.includes('"content":{"leave":{}}'))).toBe(true);
  expect(await ana.code()).not.toBe(code);
  expect(await ana.code()).toBe(await ben.code());

  // Who leads may remove.
  const fay = await Person.join(browser, relay, call, 'Fay');
  await ana.press('Remove Fay from the call');
  await fay.page.getByRole('heading', { name: 'You were removed' }).waitFor();
  await until('the removal in words', 5000, async () => (await now()).includes('Fay was removed: everybody has a new key.'));
  await fay.close();

  // The lead itself goes: the next by order takes over, and the picture goes on.
  await ana.close();
  await until('Ben leading', 5000, async () => (await ben.page.locator('.person[data-presence=me] .lead').count()) === 1);
  await ben.close();
});

test('offers that cross do no harm', async () => {
  const call = 'glare';
  const [ana, ben] = [await Person.join(browser, relay, call, 'Ana'), await Person.join(browser, relay, call, 'Ben')];
  await ana.decrypts(1);
  const before = await ana.signaling();
  for (let i = 0; i < 5; i += 1) await Promise.all([ana.restartIce(), ben.restartIce()]);
  await until('both sides agreeing again', 10_000, async () => {
    const both = [...(await ana.signaling()), ...(await ben.signaling())];
    return both.every(({ state }) => state === 'stable') && (await ana.signaling())[0]?.ufrag !== before[0]?.ufrag;
  });
  const then = await ana.counted();
  await pause(2000);
  expect((await ana.counted()).decoded - then.decoded).toBeGreaterThan(10);
  expect([...ana.complaints, ...ben.complaints]).toEqual([]);
  // The same connection all along.
  expect(await ana.signaling()).toHaveLength(1);
  await ana.close();
  await ben.close();
});

test('a connection that breaks is made again', async () => {
  const call = 'broken';
  const [ana, ben] = [await Person.join(browser, relay, call, 'Ana'), await Person.join(browser, relay, call, 'Ben')];
  await ana.decrypts(1);
  await ben.breakConnections();
  const broken = performance.now();
  await until('the break in words', 10_000, async () => (await ana.others()).some(({ presence }) => presence === 'trouble' || presence === 'connecting'));
  await ana.decrypts(1, 40_000);
  await ben.decrypts(1, 10_000);
  say(`\nA connection that broke was there again after ${((performance.now() - broken) / 1000).toFixed(1)} s`);
  await ana.close();
  await ben.close();
});
