// Child processes of the root scripts: tools that end by themselves, and programs that a signal must reach.
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from './pnpm.mjs';

/** Runs a binary of the workspace's root and returns its exit code. */
export function tool(name, ...args) {
  const result = spawnSync(join(root, 'node_modules', '.bin', name), args, { cwd: root, stdio: 'inherit' });
  if (result.error) throw result.error;
  return result.status ?? 1;
}

/** Runs a program with Node and resolves with its exit code. It gets our signals, so that it can drain before it ends. */
export function program(file, args) {
  const child = spawn(process.execPath, ['--enable-source-maps', join(root, file), ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  const forward = (signal) => child.kill(signal);
  process.on('SIGINT', forward);
  process.on('SIGTERM', forward);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => {
      process.off('SIGINT', forward);
      process.off('SIGTERM', forward);
      resolve(code ?? 1);
    });
  });
}
