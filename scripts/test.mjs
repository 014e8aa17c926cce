// `npm test [-- FILTER…]`: installs, builds, checks and runs every spec; arguments go to vitest.
// The last line is always `N passed, N failed, N skipped`. A step other than the specs that fails counts as one failed.
import { build, install } from './lib/pnpm.mjs';
import { Steps } from './lib/steps.mjs';
import { countTests, runVitest, unmatchedFilter } from './lib/vitest.mjs';

const steps = new Steps();
const unmatched = unmatchedFilter(process.argv.slice(2));
if (unmatched !== undefined) {
  const refuse = () => Promise.reject(`No spec's path contains '${unmatched}'`);
  await steps.run('filter', refuse, { required: true });
}
await steps.run('install', () => install('test'), { required: true });
await steps.run('build', () => build('!@lockstep/bench'), { required: true });
const ready = steps.failed.length === 0;
if (ready) {
  // Only now: the checks import what the install brought.
  const { checks } = await import('./lib/checks.mjs');
  for (const [name, work] of checks) await steps.run(name, work);
}
const specsOk = ready && (await steps.run('specs (vitest)', () => runVitest(process.argv.slice(2))));
const counted = ready ? countTests() : { passed: 0, failed: 0, skipped: 0 };

// vitest also fails for what is no test: an unhandled rejection, a missing server.
const specStepFailed = ready && !specsOk;
const otherSteps = steps.failed.length - (specStepFailed && counted.failed > 0 ? 1 : 0);
if (steps.failed.length > 0) console.error(`\nFailed: ${steps.failed.map((step) => step.name).join(', ')}`);
console.log(`\n${counted.passed} passed, ${counted.failed + otherSteps} failed, ${counted.skipped} skipped`);
process.exitCode = steps.failed.length === 0 ? 0 : 1;
