import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { type CaseResult, CoreTest } from '../support/coreTest.ts';

/** The tests of native/core that start threads, under ThreadSanitizer. */

const TESTS = fileURLToPath(new URL('../native', import.meta.url));

/** NAME of each NAME_test.cc that starts threads. */
const threaded = readdirSync(TESTS)
  .filter((f) => f.endsWith('_test.cc') && /#include <thread>/.test(readFileSync(`${TESTS}/${f}`, 'utf8')))
  .map((f) => f.slice(0, -'_test.cc'.length));

const built = await CoreTest.build('thread', threaded).catch((error: Error) => error);

describe('native/core under ThreadSanitizer', () => {
  if (built instanceof Error) {
    test('is built', () => expect.fail(built.message));
    return;
  }
  let results: ReadonlyMap<string, CaseResult>;
  beforeAll(async () => {
    results = await built.run();
  }, 600_000);

  test('has the swap of tables among its tests', () => expect(threaded).toContain('table_swap'));

  for (const { name, skipped } of built.cases) {
    test.skipIf(skipped)(name, () => {
      const result = results.get(name);
      expect(result?.passed, result?.text).toBe(true);
    });
  }
});
