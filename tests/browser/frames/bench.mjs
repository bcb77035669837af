/**
 * What a frame costs in a worker of Chromium: through the WASM core as calls use it, and through the browser's own
 * WebCrypto beside it. `make bench` prints the table; needs `web/pkg` and a Chromium, which CHROMIUM may name.
 */

import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

// Packages are installed there alone.
const { chromium } = createRequire(new URL('../../../web/package.json', import.meta.url))('playwright-core');

/** Bytes of a frame: sound, a small picture, an ordinary one, a key frame. */
const SIZES = [120, 1000, 10_000, 60_000];
/** Longest that the worker may take, in milliseconds. */
const PATIENCE = 120_000;

const FILES = new Map([
  ['/', ['text/html', undefined]],
  ['/worker.mjs', ['text/javascript', './worker.mjs']],
  ['/conclave_wasm.js', ['text/javascript', '../../../web/pkg/conclave_wasm.js']],
  ['/conclave_wasm_bg.wasm', ['application/wasm', '../../../web/pkg/conclave_wasm_bg.wasm']],
]);

/** Serves the worker and the core, to this machine alone. */
function serve() {
  const server = createServer(({ url }, response) => {
    const [type, path] = FILES.get(url ?? '') ?? [];
    response.writeHead(type ? 200 : 404, { 'content-type': type ?? 'text/plain' });
    if (path) createReadStream(fileURLToPath(new URL(path, import.meta.url))).pipe(response);
    else response.end('<!doctype html><title>Frames</title>');
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

/** Runs in the page: starts the worker and waits for what it measured. */
function measure(sizes) {
  const worker = new Worker('/worker.mjs', { type: 'module' });
  return new Promise((resolve, reject) => {
    worker.addEventListener('message', ({ data }) => resolve(data));
    worker.addEventListener('error', ({ message }) => reject(new Error(message)));
    worker.postMessage(sizes);
  });
}

function line(cells) {
  process.stdout.write(`${cells.map((cell) => String(cell).padStart(12)).join('')}\n`);
}

const server = await serve();
const browser = await chromium.launch({
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  headless: true,
  chromiumSandbox: false,
  args: ['--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const late = setTimeout(() => process.exit(1), PATIENCE);
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const rows = await page.evaluate(measure, SIZES);
  process.stdout.write(`\nA frame in a worker of Chromium ${browser.version()}: microseconds, one after the other (fastest of 25 rounds)\n\n`);
  line(['bytes', 'WASM: seal', 'open', 'WebCrypto:', 'decrypt', 'ratio seal', 'open']);
  for (const { size, seal, open, encrypt, decrypt } of rows) {
    const micros = [seal, open, encrypt, decrypt].map((time) => time.toFixed(1));
    line([size, ...micros, (seal / encrypt).toFixed(2), (open / decrypt).toFixed(2)]);
  }
} finally {
  clearTimeout(late);
  await browser.close();
  server.close();
}
