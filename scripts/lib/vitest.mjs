// Runs vitest and counts from its report, because the colours and layout of its summary are for people.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from './pnpm.mjs';
import { tool } from './process.mjs';

const report = join(root, 'node_modules', '.cache', 'vitest-report.json');

/** Runs the specs, all or those that the arguments select, and returns vitest's exit code. */
export function runVitest(args) {
  mkdirSync(dirname(report), { recursive: true });
  rmSync(report, { force: true });
  return tool('vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...args);
}

/** What the last run counted; all zero when it left no report. */
export function countTests() {
  if (!existsSync(report)) return { passed: 0, failed: 0, skipped: 0 };
  return countReport(JSON.parse(readFileSync(report, 'utf8')));
}

/** A spec file that could not be loaded has no tests to fail: it counts as one. */
export function countReport({ numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults }) {
  const unloaded = testResults.filter((file) => file.status === 'failed' && !file.assertionResults.some(isFailed));
  return {
    passed: numPassedTests,
    failed: numFailedTests + unloaded.length,
    skipped: numPendingTests + numTodoTests,
  };
}

function isFailed(test) {
  return test.status === 'failed';
}
