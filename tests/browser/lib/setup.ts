/** Before all tests: the page as it is built for people, and the laboratory in a folder of its own. */

import { existsSync, mkdirSync } from 'node:fs';
import { build } from 'vite';

import { CHROMIUM, PAGE, ROOT, SCREENSHOTS, TARGET } from './paths.ts';

/** Runs once. */
export async function setup(): Promise<void> {
  for (const [path, how] of [
    [CHROMIUM, 'install the package chromium, or set CHROMIUM'],
    [`${ROOT}web/pkg/conclave_wasm_bg.wasm`, '.ci/wasm'],
    [`${TARGET}/debug/conclave-server`, 'cargo build -p conclave-server'],
    [`${TARGET}/debug/conclave`, 'cargo build -p conclave-client'],
  ] as const) {
    if (!existsSync(path)) throw new Error(`${path} is missing: ${how}`);
  }
  mkdirSync(SCREENSHOTS, { recursive: true });
  process.env['CONCLAVE_WEB_OUT'] = PAGE;
  process.chdir(`${ROOT}web`);
  await build({ configFile: `${ROOT}web/vite.config.ts`, root: `${ROOT}web/demo`, logLevel: 'warn' });
  await build({
    configFile: false,
    root: `${ROOT}tests/browser/laboratory`,
    base: './',
    logLevel: 'warn',
    worker: { format: 'es' },
    build: {
      outDir: `${PAGE}/laboratory`,
      emptyOutDir: true,
      target: 'es2023',
      assetsInlineLimit: 0,
      modulePreload: false,
      rollupOptions: { input: `${ROOT}tests/browser/laboratory/laboratory.html` },
    },
  });
}
