// Installs what is missing, then runs a command with the workspace's binaries on PATH: `node scripts/run.mjs tsc -b`.
import { ensureInstalled, pnpmExec } from './lib/pnpm.mjs';

ensureInstalled();
const command = process.argv.slice(2);
if (command.length > 0) process.exitCode = pnpmExec(command);
