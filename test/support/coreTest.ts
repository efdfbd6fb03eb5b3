import { join } from 'node:path';
import { make, SANITIZER_ENV, type Sanitizers, steadyLayout, variantDir } from './nativeMake.ts';
import { CommandError, run } from './proc.ts';

/** The C++ unit tests of native/core, test/native/, run case by case from here. */

export interface CaseResult {
  readonly passed: boolean;
  /** Assertions carried out. */
  readonly assertions: number;
  /** What doctest and the sanitizers said. */
  readonly text: string;
}

/**
 * Reads what test/native/main.cc writes with --reporters=marks,console: `@start NAME`, text, `@end PASSED ASSERTIONS`.
 * `unfinished`: the case that was running when the program ended, with the text that followed.
 */
export function readMarks(output: string): {
  finished: Map<string, CaseResult>;
  unfinished: { name: string; text: string } | undefined;
} {
  const finished = new Map<string, CaseResult>();
  let open: { name: string; lines: string[] } | undefined;
  for (const line of output.split('\n')) {
    const start = /^@start (.*)$/.exec(line);
    const end = /^@end ([01]) (\d+)$/.exec(line);
    if (start) open = { name: start[1]!, lines: [] };
    else if (end && open) {
      const text = open.lines.join('\n');
      finished.set(open.name, { passed: end[1] === '1', assertions: Number(end[2]), text });
      open = undefined;
    } else open?.lines.push(line);
  }
  return { finished, unfinished: open && { name: open.name, text: open.lines.join('\n') } };
}

export class CoreTest {
  readonly #argv: readonly string[];
  readonly cases: readonly { readonly name: string; readonly skipped: boolean }[];

  private constructor(argv: readonly string[], cases: CoreTest['cases']) {
    this.#argv = argv;
    this.cases = cases;
  }

  /** Builds the tests; `tests`: only those of test/native/NAME_test.cc. Rejects with the compiler's words. */
  static async build(san: Sanitizers, tests?: readonly string[]): Promise<CoreTest> {
    await make('coretest', san, tests ? [`TESTS=${tests.join(' ')}`] : []);
    const argv = [
      ...(await steadyLayout()),
      join(variantDir(san), 'coretest'),
      '--no-version',
      '--order-by=file',
    ];
    const listed = await run([...argv, '--reporters=marks', '--list-test-cases', '--no-skip']);
    const cases = Array.from(listed.matchAll(/^@case ([01]) (.*)$/gm), (m) => ({
      name: m[2]!,
      skipped: m[1] === '1',
    }));
    return new CoreTest(argv, cases);
  }

  /** Runs all cases. When one ends the program, it fails with what was said, and the rest is run without it. */
  async run(): Promise<Map<string, CaseResult>> {
    const names = this.cases.filter((c) => !c.skipped).map((c) => c.name);
    const results = new Map<string, CaseResult>();
    let done = 0;
    while (done < names.length) {
      const { output, errors } = await this.#from(done + 1);
      const { finished, unfinished } = readMarks(output);
      done += finished.size + (unfinished ? 1 : 0);
      for (const [name, result] of finished) results.set(name, result);
      if (unfinished) {
        const text = `${unfinished.text}\nthe program ended here\n${errors}`;
        results.set(unfinished.name, { passed: false, assertions: 0, text });
      } else if (finished.size === 0) throw new Error(`no test case could be run: ${output}${errors}`);
      else if (done === names.length && errors && [...results.values()].every((r) => r.passed))
        throw new Error(`after the last test case: ${errors}`);
    }
    return results;
  }

  /** Runs the cases from the `first`th on (1: all); failing ones give no error here. `errors`: why it ended badly, if it did. */
  async #from(first: number): Promise<{ output: string; errors: string }> {
    const argv = [...this.#argv, '--reporters=marks,console', `--first=${first}`];
    try {
      return { output: await run(argv, { timeout: 240_000, env: SANITIZER_ENV }), errors: '' };
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      return { output: error.stdout, errors: `${error.stderr}status ${error.status}` };
    }
  }
}
