/** A browser that knows only the older encoded streams: the same call, by the other way into the worker. */

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { openBrowser, Person } from './lib/page.ts';
import { pause, Relay, say } from './lib/programs.ts';

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

/** Runs in the page before anything else: no `RTCRtpScriptTransform`, and each use of the older way is counted. */
function onlyOlderStreams(): void {
  Reflect.deleteProperty(globalThis, 'RTCRtpScriptTransform');
  let used = 0;
  for (const { prototype } of [RTCRtpSender, RTCRtpReceiver]) {
    const create = Reflect.get(prototype, 'createEncodedStreams') as () => unknown;
    Reflect.set(prototype, 'createEncodedStreams', function counted(this: unknown) {
      used += 1;
      Reflect.set(globalThis, 'olderStreams', used);
      return create.call(this);
    });
  }
}

test('by encoded streams: both see each other, and without the worker nothing is sent', async () => {
  const ana = await Person.join(browser, relay, 'older', 'Ana', { before: onlyOlderStreams });
  const ben = await Person.join(browser, relay, 'older', 'Ben');
  for (const person of [ana, ben]) await person.decrypts(1);
  // Two senders and two receivers.
  const used = (person: Person): Promise<unknown> => person.page.evaluate(() => Reflect.get(globalThis, 'olderStreams'));
  expect([await used(ana), await used(ben)]).toEqual([4, undefined]);
  const before = [await ana.counted(), await ben.counted()];
  await pause(3000);
  const after = [await ana.counted(), await ben.counted()];
  say('');
  for (const [i, person] of [ana, ben].entries()) {
    const [then, now] = [before[i], after[i]];
    const [decoded, heard] = [(now?.decoded ?? 0) - (then?.decoded ?? 0), (now?.heard ?? 0) - (then?.heard ?? 0)];
    say(`  ${person === ana ? 'encoded streams' : 'script transform'}: ${decoded} pictures and ${heard} samples of sound in 3 s, ${now?.undecryptable} undecryptable`);
    expect(decoded).toBeGreaterThan(20);
    expect(heard).toBeGreaterThan(48_000);
    expect(now?.undecryptable).toBe(0);
    expect(person.complaints).toEqual([]);
  }
  const [worker] = ana.page.workers();
  await worker?.evaluate(() => close()).catch(() => {});
  await pause(300);
  const killed = await ana.counted();
  await pause(2000);
  const sent = (await ana.counted()).sent - killed.sent;
  say(`  encoded streams, the worker killed: ${sent} packets in the 2 s after`);
  expect(sent).toBe(0);
  await ana.close();
  await ben.close();
});
