/** A Chromium with a fake camera, and the page in it. */

import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

import { readCodecs, readRows, rememberConnections, sumCounts, watchPictures, type Counted, type Refused, type Row } from './in_page.ts';
import { forget, remember } from './leftovers.ts';
import type { LossyNetwork } from './loss.ts';
import { CHROMIUM } from './paths.ts';
import { until, type Relay } from './programs.ts';

/** Leads to this machine, but is not known to: a page from there is not secure. */
export const FOREIGN_NAME = 'relay.example';

const FLAGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
  '--allow-loopback-in-peer-connection',
  // A name for the relay that browsers do not take for this machine.
  `--host-resolver-rules=MAP ${FOREIGN_NAME} 127.0.0.1`,
];

/** Starts the browser. With `camera: false` it refuses camera and microphone, as a person may. `rate`: pictures a second. */
export async function openBrowser({ camera = true, rate = 15 } = {}): Promise<Browser> {
  const permission = camera ? ['--use-fake-ui-for-media-stream'] : ['--deny-permission-prompts'];
  return chromium.launch({ executablePath: CHROMIUM, headless: true, chromiumSandbox: false, args: [...FLAGS, `--use-fake-device-for-media-stream=fps=${rate}`, ...permission] });
}

const DESK = { width: 1280, height: 800 };

/** How a page is opened. */
export interface OpenOptions {
  /** Runs in the page before anything else. */
  readonly before?: () => void;
  /** Where the relay is reached, if not at its own address: it gives pages from elsewhere no token, so they bring one. */
  readonly via?: string;
  /** What its media goes through. */
  readonly network?: LossyNetwork;
  /** More for the address. */
  readonly query?: string;
  /** How large the window is. */
  readonly viewport?: { readonly width: number; readonly height: number };
}

/** One person with the page open. */
export class Person {
  readonly name: string;
  readonly page: Page;
  readonly #context: BrowserContext;
  /** Errors and warnings that the page wrote to its console, and errors that nobody caught. */
  readonly complaints: string[] = [];
  /** Everything that the page and its worker wrote to the console, of any kind. */
  readonly written: string[] = [];
  /** Every text that went between the worker and the relay. */
  readonly wire: string[] = [];

  private constructor(name: string, context: BrowserContext, page: Page) {
    this.name = name;
    this.#context = context;
    this.page = page;
    remember(this);
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('websocket', (socket) => {
      const keep = ({ payload }: { payload: string | Buffer }): number => this.wire.push(String(payload));
      socket.on('framesent', keep);
      socket.on('framereceived', keep);
    });
    page.on('console', (message) => {
      this.written.push(message.text());
      if (message.type() === 'error' || message.type() === 'warning') this.complaints.push(message.text());
    });
  }

  /** Opens the page of a call. */
  static async open(browser: Browser, relay: Relay, call: string, name: string, { before, via = relay.url, network, query = '', viewport = DESK }: OpenOptions = {}): Promise<Person> {
    const context = await browser.newContext({ viewport });
    await network?.around(context);
    if (before) await context.addInitScript(before);
    await context.addInitScript(rememberConnections);
    const person = new Person(name, context, await context.newPage());
    const token = via === relay.url ? '' : `#token=${relay.token(call, name)}`;
    await person.page.goto(`${via}/?call=${call}&name=${encodeURIComponent(name)}&small=1${query}${token}`);
    return person;
  }

  /** Opens the page and joins; returns once the call is on the screen. */
  static async join(browser: Browser, relay: Relay, call: string, name: string, options: OpenOptions = {}): Promise<Person> {
    const person = await Person.open(browser, relay, call, name, options);
    await person.enter();
    return person;
  }

  /** Joins; returns once the call is on the screen. */
  async enter(): Promise<void> {
    await this.press('Join');
    await this.page.locator('.room').waitFor({ timeout: 15_000 });
  }

  async press(label: string): Promise<void> {
    await this.page.getByRole('button', { name: label, exact: true }).click();
  }

  /** Everybody in the list but the person themselves. */
  async others(): Promise<Row[]> {
    return this.page.evaluate(readRows);
  }

  /** The text of the key that is in use: "Key 0.4 since …". */
  async key(): Promise<string> {
    return (await this.page.locator('.key-now .dim').textContent()) ?? '';
  }

  /** The security code. */
  async code(): Promise<string> {
    return this.page.locator('.code').innerText();
  }

  /** Sums over all people who ever were there. */
  async counted(): Promise<Counted & Refused> {
    return this.page.evaluate(sumCounts);
  }

  /** Waits until so many people's media is being decrypted. */
  async decrypts(people: number, milliseconds = 20_000): Promise<void> {
    await until(`${this.name} decrypting ${people}, seeing ${JSON.stringify(await this.others())}`, milliseconds, async () => {
      const decrypting = (await this.others()).filter(({ presence }) => presence === 'decrypting');
      return decrypting.length >= people;
    });
  }

  /** The codecs of all media, as WebRTC reports them. */
  async codecs(): Promise<string[]> {
    return this.page.evaluate(readCodecs);
  }

  /** Starts ICE anew on every connection, which makes an offer. */
  async restartIce(): Promise<void> {
    await this.page.evaluate(() => {
      for (const connection of window.counted.keys()) connection.restartIce();
    });
  }

  /** The state of every connection: `stable`, and the ICE user name of this side. */
  async signaling(): Promise<{ state: string; ufrag: string }[]> {
    return this.page.evaluate(() =>
      [...window.counted.keys()].map(({ signalingState, currentLocalDescription }) => ({
        state: signalingState,
        ufrag: /ice-ufrag:(\S+)/.exec(currentLocalDescription?.sdp ?? '')?.[1] ?? '',
      })),
    );
  }

  /** Breaks every connection of this page, as a network may. */
  async breakConnections(): Promise<void> {
    await this.page.evaluate(() => {
      for (const connection of window.counted.keys()) connection.close();
    });
  }

  /** Begins to measure how long pictures of these people stand still. */
  async watchPictures(names: readonly string[]): Promise<void> {
    await this.page.evaluate(watchPictures, names);
  }

  /** Milliseconds that the picture of each stood still at most since then, and how many pictures there were. */
  async pictures(): Promise<{ name: string; still: number; shown: number }[]> {
    return this.page.evaluate(() =>
      [...window.pictures].map(([name, { still, shown, last }]) => ({ name, shown, still: Math.max(still, performance.now() - last) })),
    );
  }

  /** The line over the room. */
  async notice(): Promise<string> {
    return (await this.page.locator('.notice-text').allInnerTexts()).join();
  }

  /** Whom the page shows as leading, among the tiles and in the list. */
  async leads(): Promise<string[]> {
    const named = (within: string): Promise<string[]> => this.page.locator(`${within}:has(.lead)`).allInnerTexts();
    return [...(await named('.tile-name')), ...(await named('.person-name'))];
  }

  /** Kills the process behind the tab. */
  async crash(): Promise<void> {
    const devtools = await this.#context.newCDPSession(this.page);
    const crashed = new Promise<void>((resolve) => this.page.once('crash', () => resolve()));
    // There is nobody left to answer.
    devtools.send('Page.crash').catch(() => {});
    await crashed;
  }

  /** Closes the tab, as a person does: the page gets its `pagehide`. */
  async close(): Promise<void> {
    forget(this);
    await this.page.close({ runBeforeUnload: false });
    await this.#context.close();
  }
}
