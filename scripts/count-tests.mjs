// Prints `N passed, N failed, N skipped` from vitest's JSON report (first argument). Exit 1 when there is no report,
// no test ran, or something failed. A file that failed as a whole (it does not load, a hook threw) counts as one
// failure beside its tests.
import { readFileSync } from 'node:fs';

const count = { passed: 0, failed: 0, skipped: 0 };
let whole = false;
try {
  const report = JSON.parse(readFileSync(process.argv[2], 'utf8'));
  for (const file of report.testResults) {
    const states = file.assertionResults.map((test) => test.status);
    for (const state of states) count[state === 'passed' || state === 'failed' ? state : 'skipped']++;
    if (file.status === 'failed' && !states.includes('failed')) count.failed++;
  }
  whole = report.success && count.passed > 0;
} catch (error) {
  console.error(`no test report: ${error.message}`);
}
console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
process.exitCode = whole && count.failed === 0 ? 0 : 1;
