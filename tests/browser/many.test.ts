/** What the page says of a call of many, of somebody who records, and of a key that has not come. */

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { joinFromLaboratory } from './lib/laboratory.ts';
import { look } from './lib/look.ts';
import { Network } from './lib/network.ts';
import { openBrowser, Person } from './lib/page.ts';
import { pause, Relay, say, until } from './lib/programs.ts';

let relay: Relay;
let browser: Browser;

beforeAll(async () => {
  relay = await Relay.start();
  browser = await openBrowser({ rate: 10 });
});

afterAll(async () => {
  await browser?.close();
  await relay?.stop();
});

test('a call of more than six suggests a media server, and switches to it', async () => {
  const call = 'many';
  const ana = await Person.join(browser, relay, call, 'Ana');
  const bot = await relay.lead(call);
  const ben = await Person.join(browser, relay, call, 'Ben');
  const natives = [];
  for (const name of ['n1', 'n2', 'n3', 'n4']) natives.push(await relay.join(call, name));
  await until('seven with the bot', 5000, async () => (await ana.page.locator('.person').count()) === 7);
  const suggestion = ana.page.locator('.suggestion');
  // Who makes keys alone sends no pictures to anybody.
  expect(await suggestion.count()).toBe(0);
  natives.push(await relay.join(call, 'n5'));
  await suggestion.waitFor();
  await ana.decrypts(1);
  await look(ana, 'many');
  await ben.press('Not now');
  expect(await ben.page.locator('.suggestion').count()).toBe(0);
  await ana.press('Switch to it');
  await ana.page.getByRole('button', { name: 'Join', exact: true }).waitFor();
  expect(await ana.page.getByLabel('Your name').inputValue()).toBe('Ana');
  expect(await ana.page.evaluate(() => location.hash)).toContain('sfu=janus');
  for (const program of [...natives, bot]) await program.stop();
  for (const person of [ana, ben]) await person.close();
});

test('somebody who records is shown to everybody, for as long as they hold a key', async () => {
  const call = 'recorded';
  const [ana, ben] = [await Person.join(browser, relay, call, 'Ana'), await Person.join(browser, relay, call, 'Ben')];
  await ana.decrypts(1);
  expect(await ana.page.locator('.recorders-chip').count()).toBe(0);
  const { page: recorder } = await joinFromLaboratory(browser, relay, call, 'Archive', 'recorder');
  for (const person of [ana, ben]) {
    await person.page.locator('.recorders-chip', { hasText: 'Recording: Archive' }).waitFor({ timeout: 5000 });
    await until('the row of the recorder', 5000, async () => (await person.page.locator('.person', { hasText: 'Records this call' }).locator('.badge').innerText()).includes('recorder'));
    // No picture will ever come of it, so it has no tile.
    expect(await person.page.locator('.tile').count()).toBe(2);
  }
  await look(ana, 'recorded');
  await recorder.evaluate(() => window.laboratory.leave());
  await until('nobody recording any more', 5000, async () => (await ana.page.locator('.recorders-chip').count()) === 0);
  await recorder.close();
  for (const person of [ana, ben]) await person.close();
});

test('a key that has not come is said on the tile, with how long it has been missing', async () => {
  const call = 'waiting';
  const network = await Network.to(relay);
  const ana = await Person.join(browser, relay, call, 'Ana');
  const ben = await Person.join(browser, relay, call, 'Ben', { via: network.url });
  for (const person of [ana, ben]) await person.decrypts(1);
  // Ben hears nothing of the relay while the key is changed: pictures go on coming, under a key that he has not.
  network.cut();
  await pause(500);
  await ana.press('Change it now');
  const state = ben.page.locator('.tile', { hasText: 'Ana' }).locator('.tile-state', { hasText: /Waiting for a key since \d+ s/ });
  await state.waitFor({ timeout: 8000 });
  await pause(1200);
  say(`\nA key that has not come, on the tile: “${await state.innerText()}”`);
  await look(ben, 'waiting');
  network.mend();
  await ben.decrypts(1);
  expect(await state.count()).toBe(0);
  for (const person of [ana, ben]) await person.close();
  network.close();
});
