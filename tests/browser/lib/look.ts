/** Looks at a page as people of all kinds would. */

import { readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';

import type { Person } from './page.ts';
import { ROOT, SCREENSHOTS } from './paths.ts';
import { pause } from './programs.ts';

const DESK = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const NARROW = { width: 360, height: 740 };
const AXE = readFileSync(`${ROOT}web/node_modules/axe-core/axe.min.js`, 'utf8');

interface Finding {
  readonly impact: string;
  readonly id: string;
  readonly nodes: readonly { readonly html: string }[];
}

/** Serious and critical findings. */
export async function findings(page: Page): Promise<string[]> {
  // Through the debugger: the page's own policy would refuse a script from elsewhere, as it should.
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: Finding[] }> } };
    return (await axe.run()).violations;
  });
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, impact, nodes }) => `${impact}: ${id}: ${nodes.map(({ html }) => html).join(' | ')}`);
}

/** Nothing may stick out to the side. */
async function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/** At three sizes, dark and light: no serious finding, nothing that sticks out; screenshots for human eyes. */
export async function look(person: Person, name: string): Promise<void> {
  for (const scheme of ['dark', 'light'] as const) {
    await person.page.emulateMedia({ colorScheme: scheme });
    for (const [size, viewport] of [['desktop', DESK], ['phone', PHONE], ['narrow', NARROW]] as const) {
      await person.page.setViewportSize(viewport);
      await pause(200);
      expect(await findings(person.page), `${name}, ${scheme}, ${size}`).toEqual([]);
      expect(await overflow(person.page), `${name}, ${scheme}, ${size}`).toBe(0);
      if (size !== 'narrow') await person.page.screenshot({ path: `${SCREENSHOTS}/${name}-${size}-${scheme}.png` });
    }
    await person.page.setViewportSize(PHONE);
    await person.page.screenshot({ path: `${SCREENSHOTS}/${name}-phone-${scheme}-whole.png`, fullPage: true });
  }
  await person.page.emulateMedia({ colorScheme: 'dark' });
  await person.page.setViewportSize(DESK);
}
