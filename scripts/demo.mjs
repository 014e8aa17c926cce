// `npm run demo [-- --tour]`: installs what the mall needs, builds it and starts it.
import { flagProblem } from './lib/flags.mjs';
import { build, ensureInstalled } from './lib/pnpm.mjs';
import { program } from './lib/process.mjs';

const args = process.argv.slice(2);
const problem = flagProblem(args, { tour: { type: 'boolean' } });
if (problem === undefined) {
  ensureInstalled('demo');
  const status = build('sample-app...');
  process.exitCode = status === 0 ? await program('sample-app/dist/main.js', args) : status;
} else {
  console.error(`${problem} Usage: npm run demo [-- --tour]`);
  process.exitCode = 2;
}
