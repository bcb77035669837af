/** A Firefox with a fake camera, driven over WebDriver BiDi, and the page in it. */

import { existsSync } from 'node:fs';
import { launch, type Browser, type BrowserContext, type Page } from 'puppeteer-core';

import { mediaAddress } from './address.ts';
import { readCodecs, readRows, rememberConnections, sumCounts, type Counted, type Refused, type Row } from './in_page.ts';
import { forget, remember } from './leftovers.ts';
import { FIREFOX } from './paths.ts';
import { until, type Relay } from './programs.ts';

const PREFERENCES = {
  'media.navigator.streams.fake': true,
  // Without it the question for camera and microphone stands there for ever.
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  // Names for addresses are told by multicast, which not every machine has.
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  // Chromium may call from there.
  'media.peerconnection.ice.loopback': true,
  // Nothing goes out to the network.
  'media.gmp-manager.updateEnabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'app.update.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
};

/** Starts the browser. */
export async function openFirefox(): Promise<Browser> {
  return launch({ browser: 'firefox', executablePath: FIREFOX, headless: true, extraPrefsFirefox: PREFERENCES });
}

/** Why there can be no call with Firefox here; `undefined` when there can. `undo` takes away what was made for it. */
export function firefoxProblem(): { readonly problem?: string; undo(): void } {
  if (existsSync(FIREFOX)) return mediaAddress({ onLoopback: true });
  return { problem: `no Firefox at ${FIREFOX}; on Debian: apt-get install firefox-esr, elsewhere set FIREFOX`, undo: () => {} };
}

/** One person with the page open in Firefox. */
export class FirefoxPerson {
  readonly name: string;
  readonly page: Page;
  readonly #context: BrowserContext;
  /** Errors that nobody caught. */
  readonly complaints: string[] = [];

  private constructor(name: string, context: BrowserContext, page: Page) {
    this.name = name;
    this.#context = context;
    this.page = page;
    remember(this);
    page.on('pageerror', (error) => this.complaints.push(String(error)));
  }

  /** Opens the page and joins; returns once the call is on the screen. `query`: more for the address. */
  static async join(browser: Browser, relay: Relay, call: string, name: string, query = ''): Promise<FirefoxPerson> {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    const person = new FirefoxPerson(name, context, page);
    await page.evaluateOnNewDocument(rememberConnections);
    await page.goto(`${relay.url}/?call=${call}&name=${encodeURIComponent(name)}&small=1${query}`);
    await page.waitForSelector('.preview video:not(.unseen)');
    await page.click('form button[type=submit]');
    await page.waitForSelector('.room', { timeout: 15_000 });
    return person;
  }

  /** Everybody in the list but the person themselves. */
  async others(): Promise<Row[]> {
    return this.page.evaluate(readRows);
  }

  /** Sums over all people who ever were there. */
  async counted(): Promise<Counted & Refused> {
    return this.page.evaluate(sumCounts);
  }

  /** The codecs of all media, as WebRTC reports them. */
  async codecs(): Promise<string[]> {
    return this.page.evaluate(readCodecs);
  }

  /** The security code. */
  async code(): Promise<string> {
    return this.page.$eval('.code', (code) => (code as HTMLElement).innerText);
  }

  /** Waits until so many people's media is being decrypted. */
  async decrypts(people: number, milliseconds = 30_000): Promise<void> {
    await until(`${this.name} (Firefox) decrypting ${people}`, milliseconds, async () => {
      const rows = await this.others();
      return rows.filter(({ presence }) => presence === 'decrypting').length >= people;
    });
  }

  /** Closes the tab, as a person does. */
  async close(): Promise<void> {
    forget(this);
    await this.page.close();
    await this.#context.close();
  }
}
