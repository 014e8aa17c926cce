import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isAptSystem, libraryEnvironment, systemName, unpackFromApt } from './apt.provision.js';
import { cachedUsable } from './cache-folder.js';
import { locateImage } from './docker.provision.js';
import { type Attempt, firstFound, isAtLeast, type LocatedMariaDb, type ServerSource } from './located-server.js';
import { isExecutable, onPath, runTool } from './run-tool.js';

const MINIMUM = '10.6';
const IMAGE = 'mariadb:10.11';
const ADVICE =
  'Install MariaDB 10.6 or newer, or set LOCKSTEP_MARIADB_BIN to the folder that holds mariadbd, or set MARIADB_URL to ' +
  'a server that runs already.';

// Outside of PATH for everybody but root.
const SYSTEM_FOLDERS = ['/usr/sbin', '/usr/libexec', '/usr/local/sbin'];
// The packages that hold mariadbd and mariadb-install-db with its tool my_print_defaults; older releases name the version.
const APT_VARIANTS = [
  ['mariadb-server-core', 'mariadb-client-core'],
  ['mariadb-server-core-10.6', 'mariadb-client-core-10.6'],
];
const APT_BINARY = 'usr/sbin/mariadbd';

/**
 * Finds MariaDB: `LOCKSTEP_MARIADB_BIN`, PATH and `/usr/sbin`, unpacked packages of the system's own sources (Debian,
 * Ubuntu; no root needed), Docker. `LOCKSTEP_MARIADB=path|apt|docker` allows one source only. MySQL is not taken for it.
 * @throws ServerNotAvailableError listing why each source has none
 */
export async function locateMariaDb(): Promise<LocatedMariaDb> {
  const explicit = process.env.LOCKSTEP_MARIADB_BIN;
  if (explicit !== undefined && explicit !== '') {
    return firstFound('mariadb', [() => inspect('env', explicit, {})], 'LOCKSTEP_MARIADB_BIN names this folder.');
  }
  const sources = { path: fromPath, apt: fromApt, docker: fromDocker };
  const only = process.env.LOCKSTEP_MARIADB;
  const chosen = Object.entries(sources).filter(([name]) => only === undefined || only === '' || name === only);
  return firstFound(
    'mariadb',
    chosen.map(([, source]) => source),
    ADVICE,
  );
}

async function fromPath(): Promise<Attempt<LocatedMariaDb>> {
  const missing: string[] = [];
  const found = onPath('mariadbd');
  const folders = found === undefined ? SYSTEM_FOLDERS : [dirname(realpathSync(found)), ...SYSTEM_FOLDERS];
  for (const folder of folders.filter((path) => existsSync(join(path, 'mariadbd')))) {
    const attempt = await inspect('path', folder, {});
    if ('found' in attempt) return attempt;
    missing.push(attempt.missing);
  }
  return { missing: missing.join('; ') || 'mariadbd: not on PATH and not in /usr/sbin' };
}

async function fromApt(): Promise<Attempt<LocatedMariaDb>> {
  if (process.platform !== 'linux' || !isAptSystem()) return { missing: 'apt: not a Debian or Ubuntu system' };
  const missing: string[] = [];
  for (const packages of APT_VARIANTS) {
    try {
      const attempt = await cachedUsable(
        `${packages[0]}-${systemName()}`,
        (draft) => unpackFromApt(packages, draft, APT_BINARY),
        (folder) => inspect('apt', dirname(join(folder, APT_BINARY)), libraryEnvironment(folder)),
        async (folder) => (await askVersion(join(folder, APT_BINARY), libraryEnvironment(folder))).ok,
      );
      if ('found' in attempt) return attempt;
      missing.push(attempt.missing);
    } catch (error) {
      missing.push(error instanceof Error ? error.message : String(error));
    }
  }
  return { missing: `apt: ${missing.join('; ')}` };
}

async function fromDocker(): Promise<Attempt<LocatedMariaDb>> {
  const attempt = await locateImage(IMAGE, '10.11');
  return 'found' in attempt ? { found: { ...attempt.found, installDb: '', baseFolder: '' } } : attempt;
}

async function inspect(
  source: ServerSource,
  folder: string,
  env: Record<string, string>,
): Promise<Attempt<LocatedMariaDb>> {
  const binary = join(folder, 'mariadbd');
  if (!isExecutable(binary)) return { missing: `${binary}: not an executable file` };
  const answer = await askVersion(binary, env);
  const version = /\bVer (\d+\.\d+\.\d+)-MariaDB/.exec(answer.stdout)?.[1];
  if (version === undefined) return { missing: `${binary}: ${answer.problem || 'does not tell a version of MariaDB'}` };
  if (!isAtLeast(version, MINIMUM)) return { missing: `${binary}: is ${version}, needed is ${MINIMUM}` };
  const baseFolder = dirname(folder);
  // Packages keep it in bin beside sbin, the archive of the project in scripts beside bin.
  const scripts = [folder, join(baseFolder, 'bin'), join(baseFolder, 'scripts')];
  const installDb = scripts.map((path) => join(path, 'mariadb-install-db')).find((path) => isExecutable(path));
  if (installDb === undefined) return { missing: `${binary}: no mariadb-install-db in ${scripts.join(', ')}` };
  return { found: { source, binary, installDb, baseFolder, version, env } };
}

function askVersion(binary: string, env: Record<string, string>): ReturnType<typeof runTool> {
  return runTool(binary, ['--no-defaults', '--version'], { env: { ...process.env, ...env } });
}
