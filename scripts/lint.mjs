// `npm run lint`: every check of `npm test` that needs no server, on packages that are built.
import { checks } from './lib/checks.mjs';
import { build, ensureInstalled } from './lib/pnpm.mjs';
import { Steps } from './lib/steps.mjs';

ensureInstalled('test');
const steps = new Steps();
await steps.run('build', () => build('!@lockstep/bench'), { required: true });
for (const [name, work] of checks) await steps.run(name, work);
process.exitCode = steps.failed.length === 0 ? 0 : 1;
