import { defineConfig } from 'vite';

/** Builds the page that the relay serves. `CONCLAVE_WEB_OUT` puts it elsewhere. */
export default defineConfig(({ mode }) => ({
  root: 'demo',
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  worker: { format: 'es' },
  build: {
    outDir: process.env['CONCLAVE_WEB_OUT'] ?? '../dist',
    emptyOutDir: true,
    target: 'es2023',
    // Nothing inline: the page's security policy allows only files of its own origin.
    assetsInlineLimit: 0,
    modulePreload: false,
    sourcemap: false,
    rollupOptions: {
      // The laboratory of the browser tests: the SDK by itself, on a page that is never part of the real build.
      input: mode === 'laboratory' ? ['demo/index.html', '../tests/browser/laboratory/laboratory.html'] : ['demo/index.html'],
    },
  },
}));
