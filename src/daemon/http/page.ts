import { readFile, stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { notFound } from './errors.ts';
import type { Reply, Route } from './route.ts';

/** Where the page is built to. */
const BUILT = fileURLToPath(new URL('../../../build/page/', import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.json': 'application/json',
  '.webmanifest': 'application/manifest+json',
  '.woff2': 'font/woff2',
};

/** A file name with nothing in it that a file system gives a meaning: neither slashes nor a dot at its beginning. */
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}$/;
/** What Vite puts a hash of the content into: such a file never changes. */
const HASHED = /-[A-Za-z0-9_-]{8,}\.[a-z0-9]+$/;

async function file(root: string, folder: '' | 'assets/', name: string): Promise<Reply> {
  const type = TYPES[extname(name)];
  const path = `${root}${folder}${name}`;
  const found = type !== undefined && NAME.test(name) ? await stat(path).catch(() => undefined) : undefined;
  if (type === undefined || !found?.isFile())
    throw notFound(
      name === 'index.html'
        ? 'the page has not been built: npm run build'
        : `there is no /${folder}${name} here`,
    );
  const forGood = folder === 'assets/' && HASHED.test(name);
  return {
    bytes: await readFile(path),
    type,
    headers: {
      etag: `"${found.size.toString(36)}-${Math.trunc(found.mtimeMs).toString(36)}"`,
      'cache-control': forGood ? 'public, max-age=31536000, immutable' : 'no-cache',
    },
  };
}

/** The files of the page, read when they are asked for. */
export const pageRoutes = (root = BUILT): Route[] => [
  { method: 'GET', path: '/', audience: 'anyone', handle: () => file(root, '', 'index.html') },
  {
    method: 'GET',
    path: '/:file',
    audience: 'anyone',
    handle: ({ params }) => file(root, '', params.file ?? ''),
  },
  {
    method: 'GET',
    path: '/assets/:file',
    audience: 'anyone',
    handle: ({ params }) => file(root, 'assets/', params.file ?? ''),
  },
];
