// `npm run demo [-- --tour]`: installs what the mall needs, builds it and starts it.
import { build, ensureInstalled } from './lib/pnpm.mjs';
import { program } from './lib/process.mjs';

ensureInstalled('demo');
const status = build('sample-app...');
process.exitCode = status === 0 ? await program('sample-app/dist/main.js', process.argv.slice(2)) : status;
