import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SEEDS } from '../native/fuzzSeeds.ts';
import { clang, make, SANITIZER_ENV, steadyLayout, variantDir } from '../support/nativeMake.ts';
import { run } from '../support/proc.ts';

/** A short run of each fuzz target of native/fuzz/, always the same one; `npm run fuzz` is the long one. */

const FUZZ = fileURLToPath(new URL('../../native/fuzz', import.meta.url));
const SAN = 'fuzzer,address,undefined';
/** How many inputs are tried, beginning with the corpus. */
const RUNS: Readonly<Record<string, number>> = {
  icmp: 10_000,
  table: 1_000,
  ingress: 1_500,
  egress: 1_000,
  cni: 50_000,
};

const targets = readdirSync(FUZZ)
  .filter((f) => f.endsWith('_fuzz.cc'))
  .map((f) => f.slice(0, -'_fuzz.cc'.length));

const compiler = await clang();
const unless = compiler ? '' : ': skipped, there is no clang++ with libFuzzer (clang-14, libclang-rt-14-dev)';

describe.skipIf(!compiler)(`fuzz targets${unless}`, () => {
  let layout: readonly string[];
  let found: string;
  beforeAll(async () => {
    layout = await steadyLayout();
    found = mkdtempSync(join(tmpdir(), 'ld-fuzz-'));
    await make('fuzzers', SAN);
  }, 600_000);
  afterAll(() => rmSync(found, { recursive: true, force: true }));

  test.each(targets)('%s: the corpus, and more made of it', { timeout: 300_000 }, async (target) => {
    // New inputs go into the first directory; one that fails is told in the error, in base64.
    const corpora = [mkdtempSync(join(found, target)), join(FUZZ, 'corpus', target)];
    const options = [`-runs=${RUNS[target]}`, '-seed=1', '-timeout=60', `-artifact_prefix=${found}/`];
    const argv = [...layout, join(variantDir(SAN), target), ...options, ...corpora];
    await run(argv, { timeout: 290_000, env: SANITIZER_ENV });
  });
});

describe('the corpus', () => {
  test('is there for each target', () => {
    expect(Object.keys(RUNS).sort()).toEqual([...targets].sort());
    expect(readdirSync(join(FUZZ, 'corpus')).sort()).toEqual([...targets].sort());
  });

  test.each(Object.keys(SEEDS))('of %s has the seeds that test/native/fuzzSeeds.ts makes', (target) => {
    const dir = join(FUZZ, 'corpus', target);
    const there = readdirSync(dir).filter((f) => f.startsWith('seed-'));
    const bytes = Object.fromEntries(there.map((f) => [f.slice('seed-'.length), readFileSync(join(dir, f))]));
    expect(bytes).toEqual(SEEDS[target]);
  });
});
