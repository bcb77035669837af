/** Through a real SFU that takes encrypted media only: three pages see and hear each other, and the server nobody. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import type { Layer } from '../../web/src/index.ts';
import type { Seen } from './laboratory/laboratory.ts';
import { FirefoxPerson, firefoxProblem, openFirefox } from './lib/firefox.ts';
import { Janus, janusProblem } from './lib/janus.ts';
import { joinFromLaboratory, openLaboratory, type Lab } from './lib/laboratory.ts';
import { openBrowser, Person } from './lib/page.ts';
import { pause, Relay, say, until } from './lib/programs.ts';
import { recordedVideo, type RecordedFrame } from './lib/recording.ts';

const CODECS = ['vp8', 'vp9', 'av1', 'h264'] as const;

const { problem, undo } = janusProblem();
if (problem !== undefined) say(`\nSKIPPED, all of it: calls through Janus: ${problem}`);

describe.skipIf(problem !== undefined)('through Janus', () => {
  let relay: Relay;
  let browser: Browser;
  let janus: Janus;

  beforeAll(async () => {
    relay = await Relay.start();
    browser = await openBrowser();
    janus = await Janus.start();
  });

  afterAll(async () => {
    await browser?.close();
    await janus?.stop();
    await relay?.stop();
    undo();
  });

  async function three(call: string): Promise<Lab[]> {
    const all = [];
    for (const user of ['Ana', 'Ben', 'Cleo']) all.push(await joinFromLaboratory(browser, relay, call, user));
    for (const { page } of all) await until('three in the roster', 5000, async () => (await page.evaluate(() => window.laboratory.roster())) === 3);
    return all;
  }

  type Entry = Parameters<Window['laboratory']['enterRoom']>[0];
  const enter = ({ page }: Lab, room: number, more: Partial<Entry> = {}): Promise<void> =>
    page.evaluate((options) => window.laboratory.enterRoom(options), { url: janus.url, room, codec: 'vp8', create: true, ...more } as const satisfies Entry);
  const seen = ({ page }: Lab): Promise<Seen[]> => page.evaluate(() => window.laboratory.seen());
  const errors = ({ page }: Lab): Promise<readonly string[]> => page.evaluate(() => window.laboratory.roomErrors);

  test('three pages, every codec that it carries', async () => {
    const people = await three('codecs');
    say('\nThrough Janus, three pages, 4 s after the first picture; per page, of both others together:');
    for (const [i, codec] of CODECS.entries()) {
      for (const person of people) await enter(person, 100 + i, { codec });
      for (const person of people) {
        await until(`pictures in ${codec}, seeing ${JSON.stringify(await seen(person))} ${(await errors(person)).join()}`, 25_000, async () => {
          const others = await seen(person);
          return others.length === 2 && others.every(({ decoded }) => decoded > 0);
        });
      }
      await pause(4000);
      for (const [j, person] of people.entries()) {
        const others = await seen(person);
        const sum = (of: 'decoded' | 'heard' | 'undecryptable' | 'refused' | 'keyless'): number => others.reduce((total, other) => total + other[of], 0);
        say(`  ${codec.toUpperCase().padEnd(4)} page ${j + 1}: ${sum('decoded')} pictures decoded, ${sum('heard')} samples heard, ${sum('undecryptable')} undecryptable, ${sum('refused')} refused`);
        for (const other of others) {
          expect(other.codecs).toEqual(['audio/opus', `video/${codec.toUpperCase()}`]);
          expect(other.decoded).toBeGreaterThan(20);
          expect(other.heard).toBeGreaterThan(48_000);
          expect([other.undecryptable, other.refused, other.keyless]).toEqual([0, 0, 0]);
        }
        expect(await errors(person)).toEqual([]);
      }
      for (const { page } of people) await page.evaluate(() => window.laboratory.leaveRoom());
    }
    for (const { page } of people) await page.close();
  });

  test('layers of a simulcast picture are switched without a frame that does not open', async () => {
    const [ana, ben, cleo] = (await three('layers')) as [Lab, Lab, Lab];
    await enter(ana, 200, { simulcast: true });
    for (const person of [ben, cleo]) await enter(person, 200);
    const ofAna = async (person: Lab): Promise<Seen | undefined> => (await seen(person)).find(({ member }) => member === ana.joined);
    // A browser on a busy machine makes all three smaller, so each layer is known by a range.
    const fits = (layer: Layer, height = 0): boolean => layer === (height > 300 ? 2 : height > 160 ? 1 : 0);
    await until('the largest layer', 30_000, async () => fits(2, (await ofAna(ben))?.height));
    const heights: number[] = [];
    const layers = [0, 2, 1, 0, 1, 2] as const;
    for (const layer of layers) {
      await ben.page.evaluate((args) => window.laboratory.setLayer(...args), [ana.joined, layer] as const);
      await until(`layer ${layer} after heights ${heights.join()}, now ${(await ofAna(ben))?.height}`, 20_000, async () => fits(layer, (await ofAna(ben))?.height));
      const before = (await ofAna(ben))?.decoded ?? 0;
      await until(`pictures in layer ${layer}`, 10_000, async () => ((await ofAna(ben))?.decoded ?? 0) > before + 10);
      heights.push((await ofAna(ben))?.height ?? 0);
    }
    const [mine, other] = [await ofAna(ben), await ofAna(cleo)];
    say(`\nSimulcast through Janus: heights ${heights.join(', ')} in turn; ${mine?.decoded} pictures decoded, ${mine?.undecryptable} undecryptable, ${mine?.refused} refused`);
    expect(heights.map((height) => layers.find((layer) => fits(layer, height)))).toEqual([...layers]);
    for (const one of [mine, other]) expect([one?.undecryptable, one?.refused, one?.keyless]).toEqual([0, 0, 0]);
    for (const { page } of [ana, ben, cleo]) await page.close();
  });

  test('a page of another call decodes nothing, nor does anybody of a feed that claims to be somebody else', async () => {
    const [mine, other] = [await three('mine'), await three('other')];
    const [[ana, ben, cleo], [, eve]] = [mine, other] as [[Lab, Lab, Lab], [Lab, Lab, Lab]];
    await enter(ana, 300);
    // Eve’s call has somebody with Ana’s order number, on the same seat, in the same epoch. She comes under a number that no other
    // feed of the room claims: of two feeds of one member only the last is taken.
    await enter(eve, 300);
    // Ben says that he is Cleo: the server passes it on, and no key of hers opens what he sends.
    await enter(ben, 300, { pose: cleo.joined });
    const of = async (lab: Lab, joined: number): Promise<Seen | undefined> => (await seen(lab)).find(({ member }) => member === joined);
    // Joins may share an epoch on one side alone: then the key of her frames is not a wrong one but none.
    const closed = (one: Seen | undefined): number => (one?.undecryptable ?? 0) + (one?.keyless ?? 0);
    await until('frames in a page of another call', 20_000, async () => closed(await of(eve, ana.joined)) > 20);
    await until('frames of the pretender', 20_000, async () => ((await of(ana, cleo.joined))?.refused ?? 0) > 20);
    const [ofAna, ofCleo] = [await of(eve, ana.joined), await of(ana, cleo.joined)];
    say(`\nA page of another call, of Ana: ${ofAna?.decoded} pictures decoded, ${ofAna?.heard} samples heard, ${closed(ofAna)} frames did not open`);
    say(`A feed that claims to be somebody else: ${ofCleo?.decoded} pictures decoded, ${ofCleo?.heard} samples heard, ${ofCleo?.refused} frames refused`);
    for (const one of [ofAna, ofCleo]) expect([one?.decoded, one?.heard, one?.opened]).toEqual([0, 0, 0]);
    for (const { page } of [...mine, ...other]) await page.close();
  });

  test('what the server records cannot be decoded', async () => {
    const folder = mkdtempSync(`${tmpdir()}/conclave-recording-`);
    try {
      const [ana, ben, cleo] = (await three('recorded')) as [Lab, Lab, Lab];
      const make = (room: number, sealed: boolean): Promise<void> =>
        cleo.page.evaluate((options) => window.laboratory.makeRoom(options), { url: janus.url, room, folder: `${folder}/${room}`, sealed });
      await make(401, true);
      await make(402, false);
      for (const person of [ana, ben]) await enter(person, 401, { create: false });
      await until('both decoding', 20_000, async () => (await Promise.all([ana, ben].map(seen))).every(([other]) => (other?.decoded ?? 0) > 60));
      // The control: a camera in clear, by WebRTC alone, recorded in the same way.
      await cleo.page.evaluate((options) => window.laboratory.publishClear(options), { url: janus.url, room: 402 });
      await pause(6000);
      const live = await Promise.all([ana, ben].map(seen));
      for (const { page } of [ana, ben, cleo]) await page.close();
      // The server finishes its files.
      await pause(1500);
      const [closed, open] = [await decodable(`${folder}/401`), await decodable(`${folder}/402`)];
      say('');
      say(`Janus’ recording of a sealed room: ${closed.frames} frames in ${closed.files} files, ${closed.pictures} pictures decoded (the two members decoded ${live.flat().map(({ decoded }) => decoded).join(' and ')})`);
      say(`Janus’ recording of a clear camera: ${open.frames} frames in ${open.files} files, ${open.pictures} pictures decoded`);
      expect([closed.files >= 2, open.files]).toEqual([true, 1]);
      expect(open.pictures).toBeGreaterThan(40);
      expect(closed.frames).toBeGreaterThan(60);
      expect(closed.pictures).toBe(0);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  /** What a browser's decoder makes of a recording: it starts anew at every key frame, however often it gives up. */
  async function decodable(folder: string): Promise<{ files: number; frames: number; pictures: number }> {
    const recordings = recordedVideo(folder);
    const page = await openLaboratory(browser, relay);
    let pictures = 0;
    for (const frames of recordings) {
      const packed = frames.map(({ key, bytes }: RecordedFrame) => ({ key, data: bytes.toString('base64') }));
      pictures += await page.evaluate((of) => window.laboratory.decode(of), packed);
    }
    await page.close();
    return { files: recordings.length, frames: recordings.flat().length, pictures };
  }

  test('a media server that does not answer is said in words', async () => {
    const ana = await Person.join(browser, relay, 'away', 'Ana', { query: '&sfu=janus&janus=ws://127.0.0.1:9' });
    await until('the words', 8000, async () => (await ana.notice()).startsWith('The media server does not answer'));
    await ana.close();
  });

  test('the real page, switched to the media server', async () => {
    const people: Person[] = [];
    for (const name of ['Ana', 'Ben', 'Cleo']) people.push(await Person.join(browser, relay, 'page', name, { query: `&sfu=janus&janus=${encodeURIComponent(janus.url)}` }));
    for (const person of people) await person.decrypts(2);
    await pause(3000);
    say('');
    for (const person of people) {
      const { decoded, undecryptable } = await person.counted();
      say(`  ${person.name}’s page through Janus: ${decoded} pictures decoded, ${undecryptable} undecryptable`);
      expect(decoded).toBeGreaterThan(40);
      expect(undecryptable).toBe(0);
      expect(person.complaints).toEqual([]);
    }
    const [ana, ben, cleo] = people as [Person, Person, Person];
    await cleo.close();
    await until('Cleo gone', 10_000, async () => (await ana.others()).length === 1);
    // What somebody shows is said through the call, as in a mesh.
    await ben.press('Turn camera off');
    await until('the camera off in words', 5000, async () => (await ana.page.locator('.tile', { hasText: 'Ben' }).locator('video:not(.unseen)').count()) === 0);
    for (const person of [ana, ben]) await person.close();
  });

  const { problem: noFirefox } = firefoxProblem();
  if (noFirefox !== undefined) say(`\nSKIPPED: Firefox through Janus: ${noFirefox}`);
  test.skipIf(noFirefox !== undefined)('Firefox beside Chromium', async () => {
    const firefox = await openFirefox();
    try {
      const query = `&sfu=janus&janus=${encodeURIComponent(janus.url)}`;
      const cleo = await Person.join(browser, relay, 'fox', 'Cleo', { query });
      const finn = await FirefoxPerson.join(firefox, relay, 'fox', 'Finn', query);
      for (const person of [cleo, finn]) await person.decrypts(1);
      await pause(3000);
      say('');
      for (const person of [cleo, finn]) {
        const { decoded, heard, undecryptable } = await person.counted();
        say(`  ${person === finn ? 'Firefox' : 'Chromium'} through Janus: ${decoded} pictures and ${heard} samples of sound, ${undecryptable} undecryptable`);
        expect(decoded).toBeGreaterThan(20);
        expect(heard).toBeGreaterThan(48_000);
        expect(undecryptable).toBe(0);
      }
      for (const person of [cleo, finn]) await person.close();
    } finally {
      await firefox.close();
    }
  });
});
