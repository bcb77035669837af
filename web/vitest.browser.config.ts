import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const packages = fileURLToPath(new URL('node_modules', import.meta.url));

/** The tests with a real browser, a real relay and native clients stand with the other whole-system tests. */
export default defineConfig({
  root: fileURLToPath(new URL('../tests/browser', import.meta.url)),
  resolve: {
    // Packages are installed here alone.
    alias: [
      { find: 'playwright-core', replacement: `${packages}/playwright-core/index.mjs` },
      { find: 'puppeteer-core', replacement: `${packages}/puppeteer-core/lib/esm/puppeteer/puppeteer-core.js` },
      { find: /^vite$/, replacement: `${packages}/vite/dist/node/index.js` },
      { find: /^vitest$/, replacement: `${packages}/vitest/dist/index.js` },
    ],
  },
  test: {
    include: ['*.test.ts'],
    globalSetup: ['lib/setup.ts'],
    // One browser at a time: what is measured is the call, not the machine.
    fileParallelism: false,
    // Real browsers in real time: a machine that stops for a second spoils what is looked at in that second. Whoever needs the
    // second try is printed as such (`retry x1`); two failures in a row are one.
    retry: 1,
    testTimeout: 180_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    reporters: ['default'],
    disableConsoleIntercept: true,
  },
});
