/** Pages with nothing but the SDK, driven from the test. */

import type { Browser, Page } from 'playwright-core';

import { remember } from './leftovers.ts';
import type { Relay } from './programs.ts';

/** One that takes part in a call. */
export interface Lab {
  readonly page: Page;
  /** Its order number. */
  readonly joined: number;
}

/** A page of the laboratory, in a context of its own. */
export async function openLaboratory(browser: Browser, relay: Relay): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  remember(page);
  await page.goto(`${relay.url}/laboratory/laboratory.html`);
  return page;
}

/** One that joins, and is in the call when this returns; whether it has a key is not waited for. */
export async function joinFromLaboratory(browser: Browser, relay: Relay, call: string, user: string, role: 'member' | 'recorder' = 'member'): Promise<Lab> {
  const page = await openLaboratory(browser, relay);
  const joined = await page.evaluate((args) => window.laboratory.join(...args), [call, user, relay.token(call, user, 600, role)] as const);
  return { page, joined };
}
