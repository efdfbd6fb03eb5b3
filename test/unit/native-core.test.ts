import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { type CaseResult, CoreTest, readMarks } from '../support/coreTest.ts';

/** The unit tests of native/core (test/native/*_test.cc), each under its own name here. */

const built = await CoreTest.build('address,undefined').catch((error: Error) => error);

describe('native/core under AddressSanitizer and UndefinedBehaviorSanitizer', () => {
  if (built instanceof Error) {
    test('is built', () => expect.fail(built.message));
    return;
  }
  let results: ReadonlyMap<string, CaseResult>;
  beforeAll(async () => {
    results = await built.run();
  }, 600_000);

  test('has test cases', () => expect(built.cases.length).toBeGreaterThan(0));

  test('has distinct names of test cases', () =>
    expect(new Set(built.cases.map((c) => c.name)).size).toBe(built.cases.length));

  for (const { name, skipped } of built.cases) {
    test.skipIf(skipped)(name, () => {
      const result = results.get(name);
      expect(result?.passed, result?.text).toBe(true);
      expect(result?.assertions, 'a test that asserts nothing cannot fail').toBeGreaterThan(0);
    });
  }
});

test('native/core knows nothing of Node, and of the addon only what needs nothing of it', () => {
  const core = fileURLToPath(new URL('../../native/core', import.meta.url));
  const shared = ['../clock.h', '../failure.h', '../thread.h'];
  const includes = readdirSync(core).flatMap((file) =>
    Array.from(readFileSync(join(core, file), 'utf8').matchAll(/#include (["<])(.*)[">]/g), (m) => ({
      file,
      quoted: m[1] === '"',
      name: m[2]!,
    })),
  );
  expect(includes.length).toBeGreaterThan(50);
  const foreign = includes.filter(({ quoted, name }) =>
    quoted ? !shared.includes(name) && !existsSync(join(core, name)) : /napi|node_api|uv\.h|v8/.test(name),
  );
  expect(foreign).toEqual([]);
});

describe('the marks of coretest', () => {
  test('tell the results of test cases apart', () => {
    const { finished, unfinished } = readMarks(
      '[doctest] x\n@start a, b\nERROR: 1 == 2\n@end 0 2\n@start c\n@end 1 7\n@start d\nwords\n',
    );
    expect(Object.fromEntries(finished)).toEqual({
      'a, b': { passed: false, assertions: 2, text: 'ERROR: 1 == 2' },
      c: { passed: true, assertions: 7, text: '' },
    });
    expect(unfinished).toEqual({ name: 'd', text: 'words\n' });
  });
});
