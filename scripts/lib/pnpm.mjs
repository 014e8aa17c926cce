// pnpm through npx, so that Node and npm are all that a machine needs. The version is the one that package.json pins.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).devEngines.packageManager;
const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' };

/** What each command needs installed: the mall needs no bench peers, the tests need no peers either. */
const scopes = {
  demo: ['--filter', '.', '--filter', 'sample-app...'],
  test: ['--filter', '!@lockstep/bench'],
  bench: [],
};

/** Runs pnpm and returns its exit code. */
export function pnpm(args, options = {}) {
  const result = spawnSync('npx', ['--yes', `pnpm@${version}`, ...args], { cwd: root, stdio: 'inherit', env, ...options });
  if (result.error) throw result.error;
  return result.status ?? 1;
}

/** Runs a command with the workspace's binaries (and pnpm itself, which turbo looks for) on PATH. */
export function pnpmExec(command, options = {}) {
  return pnpm(['exec', ...command], options);
}

/** Installs from the lock file unless the same manifests were installed for this scope, or a wider one, before. */
export function ensureInstalled(scope = 'bench') {
  const stamp = join(root, 'node_modules', '.lockstep-install.json');
  const wanted = manifestsHash();
  const wider = Object.keys(scopes).slice(Object.keys(scopes).indexOf(scope));
  const done = existsSync(stamp) ? JSON.parse(readFileSync(stamp, 'utf8')) : {};
  if (done.hash === wanted && wider.includes(done.scope)) return;
  const status = pnpm([...scopes[scope], 'install', '--frozen-lockfile']);
  if (status !== 0) process.exit(status);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, JSON.stringify({ hash: wanted, scope }));
}

function manifestsHash() {
  const hash = createHash('sha256').update(process.version);
  for (const file of ['pnpm-lock.yaml', 'pnpm-workspace.yaml', 'package.json', ...manifests()]) {
    hash.update(readFileSync(join(root, file)));
  }
  return hash.digest('hex');
}

function manifests() {
  const packages = readdirSync(join(root, 'packages')).map((name) => join('packages', name, 'package.json'));
  return [...packages, 'sample-app/package.json', 'test/package.json', 'test/bench/package.json'].filter((file) =>
    existsSync(join(root, file)),
  );
}
