import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { HOPS } from '../../src/inspect/why/index.ts';

test('the page about it has all hops, in order, in the same words', () => {
  const page = readFileSync(new URL('../../docs/why.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([^`]+)` \| ([^|]+) \|/gm)].map(([, hop, about]) => [hop, about]);
  expect(rows).toEqual(Object.entries(HOPS));
});
