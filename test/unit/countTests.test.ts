import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const SCRIPT = fileURLToPath(new URL('../../scripts/count-tests.mjs', import.meta.url));
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ld-count-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Count a report whose files have the given states of tests. */
function count(success: boolean, ...files: { status: string; tests: string[] }[]) {
  const report = join(dir, 'report.json');
  const testResults = files.map(({ status, tests }) => ({
    status,
    assertionResults: tests.map((t) => ({ status: t })),
  }));
  writeFileSync(report, JSON.stringify({ success, testResults }));
  const { status, stdout } = spawnSync(process.execPath, [SCRIPT, report], { encoding: 'utf8' });
  return { status, line: stdout };
}

test('counts what vitest reports', () => {
  const files = [
    { status: 'passed', tests: ['passed', 'passed', 'pending'] },
    { status: 'passed', tests: ['passed', 'todo'] },
  ];
  expect(count(true, ...files)).toEqual({ status: 0, line: '3 passed, 0 failed, 2 skipped\n' });
});

test('a failed test fails it', () => {
  const files = [{ status: 'failed', tests: ['passed', 'failed'] }];
  expect(count(false, ...files)).toEqual({ status: 1, line: '1 passed, 1 failed, 0 skipped\n' });
});

test('a file that does not load, or whose hook throws, is a failure', () => {
  const files = [
    { status: 'passed', tests: ['passed'] },
    { status: 'failed', tests: [] },
    { status: 'failed', tests: ['skipped', 'skipped'] },
  ];
  expect(count(false, ...files)).toEqual({ status: 1, line: '1 passed, 2 failed, 2 skipped\n' });
});

test('an error outside of all tests, no test at all, or no report is a failure', () => {
  expect(count(false, { status: 'passed', tests: ['passed'] }).status).toBe(1);
  expect(count(true).status).toBe(1);
  const none = spawnSync(process.execPath, [SCRIPT, join(dir, 'none')], { encoding: 'utf8' });
  expect(none).toMatchObject({ status: 1, stdout: '0 passed, 0 failed, 0 skipped\n' });
});
