// pnpm through npx, so that Node and npm are all that a machine needs. The version is the one that package.json pins.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const pnpmVersion = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).devEngines.packageManager
  .version;
const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' };

/** What each command needs installed, narrow to wide: the mall needs no test tools, the tests need no bench peers. */
const scopes = {
  demo: ['--filter', '.', '--filter', 'sample-app...'],
  test: ['--filter', '!@lockstep/bench'],
  bench: [],
};

/** Runs pnpm and returns its exit code. */
export function pnpm(args, options = {}) {
  const result = spawnSync('npx', ['--yes', `pnpm@${pnpmVersion}`, ...args], {
    cwd: root,
    stdio: 'inherit',
    env,
    ...options,
  });
  if (result.error) throw result.error;
  return result.status ?? 1;
}

/** Runs a command with the workspace's binaries (and pnpm itself, which turbo looks for) on PATH. */
export function pnpmExec(command, options = {}) {
  return pnpm(['exec', ...command], options);
}

/** Installs from the lock file unless the same manifests were installed for this scope, or a wider one, before. */
export function install(scope = 'bench') {
  const stamp = join(root, 'node_modules', '.lockstep-install.json');
  const wanted = manifestsHash();
  const wider = Object.keys(scopes).slice(Object.keys(scopes).indexOf(scope));
  const done = existsSync(stamp) ? JSON.parse(readFileSync(stamp, 'utf8')) : {};
  if (done.hash === wanted && wider.includes(done.scope)) return 0;
  // Not on standard output, which a result may be read from.
  console.error('installing, about a minute the first time …');
  const status = pnpm([...scopes[scope], 'install', '--frozen-lockfile']);
  if (status !== 0) return status;
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, JSON.stringify({ hash: wanted, scope }));
  return 0;
}

/** As `install`, for commands that can do nothing without: ends the process when it fails. */
export function ensureInstalled(scope) {
  const status = install(scope);
  if (status !== 0) process.exit(status);
}

/** Builds what the filters select, and everything below it; a build that is up to date costs about a second. */
export function build(...filters) {
  const selected = filters.map((filter) => `--filter=${filter}`);
  return pnpmExec(['turbo', 'run', 'build', '--output-logs=errors-only', ...selected]);
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
