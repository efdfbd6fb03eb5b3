import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './proc.ts';

/** Building and running the native parts that only tests use; native/Makefile knows how. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const OUT = join(ROOT, 'build/native');

export type Sanitizers = '' | 'address,undefined' | 'thread' | 'fuzzer,address,undefined';

/** Where a variant's results are put. */
export const variantDir = (san: Sanitizers): string => join(OUT, san.replaceAll(',', '+'));

/**
 * Make a goal of native/Makefile; `variables` are make's (`TESTS=table_swap`). One make for a variant at a time, also beside
 * other runs of the tests. Rejects with the compiler's words.
 */
export async function make(goal: string, san: Sanitizers, variables: readonly string[] = []): Promise<void> {
  const dir = variantDir(san);
  mkdirSync(dir, { recursive: true });
  const jobs = `-j${availableParallelism()}`;
  await run(
    [
      ...[
        'flock',
        join(dir, '.lock'),
        'make',
        '--no-print-directory',
        '-s',
        jobs,
        '-C',
        join(ROOT, 'native'),
      ],
      ...[goal, `SAN=${san}`, ...variables],
    ],
    { timeout: 600_000 },
  );
}

/** The clang++ that has its sanitizer runtimes and libFuzzer, or undefined. */
export async function clang(): Promise<string | undefined> {
  return (await run(['make', '-s', '-C', join(ROOT, 'native'), 'clang'])).trim() || undefined;
}

/**
 * What to put before a program with sanitizers: their runtimes want memory laid out without much randomness (clang 14 fails
 * now and then where vm.mmap_rnd_bits is above 28). Nothing where that is not allowed.
 */
export async function steadyLayout(): Promise<readonly string[]> {
  const argv = ['setarch', '-R'];
  return run([...argv, 'true']).then(
    () => argv,
    () => [],
  );
}

/** So that a finding of any sanitizer ends the program and shows where. */
export const SANITIZER_ENV = {
  ASAN_OPTIONS: 'detect_stack_use_after_return=1:strict_string_checks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
};
