import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

/** Builds the page into build/page/: files only, no request to anywhere else, nothing inline (its CSP forbids that). */
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  publicDir: false,
  logLevel: 'warn',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: fileURLToPath(new URL('../build/page', import.meta.url)),
    emptyOutDir: true,
    target: 'es2023',
    // Those that know light-dark().
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    // A data: URL of an icon would pass, of a script or a style not.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
  },
  worker: { format: 'es' },
});
