// Runs vitest and counts from its report, because the colours and layout of its summary are for people.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { root } from './pnpm.mjs';
import { tool } from './process.mjs';

const report = join(root, 'node_modules', '.cache', 'vitest-report.json');

/** Runs the specs, all or those that the arguments select, and returns vitest's exit code. */
export function runVitest(args) {
  mkdirSync(dirname(report), { recursive: true });
  rmSync(report, { force: true });
  return tool('vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...args);
}

/** The words of the arguments when they select specs and there is none; a word after a flag may be the flag's value. */
export function unmatchedFilter(args) {
  const words = args.filter((word, index) => !word.startsWith('-') && !args[index - 1]?.startsWith('-'));
  if (words.length === 0) return undefined;
  const wanted = words.map((word) => word.toLowerCase().replace(/:\d+$/, ''));
  const found = specFiles().some((file) => wanted.some((word) => join(root, file).toLowerCase().includes(word)));
  return found ? undefined : words.join("' or '");
}

function specFiles() {
  const packages = readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name, 'test'));
  return [...packages, join(root, 'test')]
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder, { withFileTypes: true, recursive: true }))
    .filter((entry) => entry.name.endsWith('.spec.ts') && !entry.parentPath.includes('node_modules'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
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
