import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { cacheFolder } from './cache-folder.js';
import { onPath, runTool } from './run-tool.js';

const MAX_LIBRARY_ROUNDS = 4;
// Never beside the system's own: a process with half of another libc does not even start.
const NEVER_UNPACKED = /^(libc6|libgcc-s1|libc-bin)$/;

/** Thrown by {@link unpackFromApt}; the message says which step failed. */
export class AptError extends Error {
  override readonly name = 'AptError';
}

export function isAptSystem(): boolean {
  return ['apt-get', 'apt-cache', 'dpkg'].every((tool) => onPath(tool) !== undefined);
}

/**
 * Downloads packages with the system's own sources and unpacks them into `folder`, with the libraries that the system
 * lacks to run `binary` (a path in the folder, or how to find those that count once they are there). Nothing is
 * installed: no root needed, no service started, nothing to undo but the folder.
 */
export async function unpackFromApt(
  packages: readonly string[],
  folder: string,
  binary: string | (() => readonly string[]),
): Promise<void> {
  await fetchAndUnpack(packages, folder);
  const fetched = new Set(packages);
  const binaries = typeof binary === 'string' ? [binary] : binary();
  for (let round = 0; round < MAX_LIBRARY_ROUNDS; round += 1) {
    const missing = await missingLibraries(folder, binaries);
    if (missing.length === 0) return;
    const wanted = (await libraryPackages([...fetched])).filter((name) => !fetched.has(name));
    if (wanted.length === 0) throw new AptError(`no package found for ${missing.join(', ')}`);
    await fetchAndUnpack(wanted, folder);
    for (const name of wanted) fetched.add(name);
  }
  const missing = await missingLibraries(folder, binaries);
  if (missing.length > 0) throw new AptError(`libraries missing: ${missing.join(', ')}`);
}

/**
 * Lets links of an unpacked package that point into the system's `/etc` point to the same file of the package, where it
 * brings one: nobody has put it into the real `/etc`. Relative, because the folder is renamed once it is whole.
 */
export function relinkConfiguration(folder: string, within: string): void {
  const root = join(folder, within);
  for (const entry of readdirSync(root, { withFileTypes: true, recursive: true })) {
    if (!entry.isSymbolicLink()) continue;
    const link = join(entry.parentPath, entry.name);
    const own = join(folder, readlinkSync(link));
    if (!readlinkSync(link).startsWith('/etc/') || !existsSync(own)) continue;
    rmSync(link);
    symlinkSync(relative(dirname(link), own), link);
  }
}

/** What to put into the environment so that binaries of `folder` find their libraries. */
export function libraryEnvironment(folder: string): Record<string, string> {
  const roots = ['usr/lib', 'lib'].map((path) => join(folder, path)).filter((path) => existsSync(path));
  const nested = roots.flatMap((root) =>
    readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name.includes('-linux-'))
      .map((entry) => join(root, entry.name)),
  );
  return { LD_LIBRARY_PATH: [...nested, ...roots].join(':') };
}

async function fetchAndUnpack(packages: readonly string[], folder: string): Promise<void> {
  const downloads = join(folder, '.packages');
  mkdirSync(downloads, { recursive: true });
  const first = await runTool('apt-get', ['download', ...packages], { cwd: downloads });
  if (!first.ok) {
    // No lists on this machine (as in slim images) or old ones: fetch a private set, which needs no root either.
    const options = await privateLists();
    const second = await runTool('apt-get', [...options, 'download', ...packages], { cwd: downloads });
    if (!second.ok) throw new AptError(`cannot download ${packages.join(' ')}: ${second.problem}`);
  }
  for (const file of readdirSync(downloads).filter((name) => name.endsWith('.deb'))) {
    const unpacked = await runTool('dpkg', ['-x', join(downloads, file), folder]);
    if (!unpacked.ok) throw new AptError(`cannot unpack ${file}: ${unpacked.problem}`);
  }
}

async function privateLists(): Promise<string[]> {
  const options = privateListOptions();
  const update = await runTool('apt-get', [...options, 'update', '-q']);
  if (!update.ok) throw new AptError(`apt-get update failed: ${update.problem}`);
  return options;
}

function privateListOptions(): string[] {
  const state = join(cacheFolder(), 'apt');
  mkdirSync(join(state, 'lists', 'partial'), { recursive: true });
  mkdirSync(join(state, 'archives', 'partial'), { recursive: true });
  return ['-o', `Dir::State::lists=${join(state, 'lists')}`, '-o', `Dir::Cache=${state}`];
}

async function missingLibraries(folder: string, binaries: readonly string[]): Promise<string[]> {
  const missing: string[] = [];
  for (const path of binaries.map((binary) => join(folder, binary))) {
    const linked = await runTool('ldd', [path], { env: { ...process.env, ...libraryEnvironment(folder) } });
    if (!linked.ok) throw new AptError(`cannot read the libraries of ${path}: ${linked.problem}`);
    missing.push(...[...linked.stdout.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1] ?? ''));
  }
  return missing;
}

/** What the packages name as their direct dependencies, by the lists of the system, else by the private ones. */
export async function dependenciesOf(packages: readonly string[]): Promise<string[]> {
  const args = ['depends', '--important', ...packages];
  const system = await runTool('apt-cache', args);
  const answer = system.ok ? system : await runTool('apt-cache', [...(await privateLists()), ...args]);
  if (!answer.ok) throw new AptError(`cannot ask for what ${packages.join(' ')} needs: ${answer.problem}`);
  const names = [...answer.stdout.matchAll(/^\s*\|?(?:Pre)?Depends:\s*([a-z0-9.+-]+)/gm)];
  return [...new Set(names.map((match) => match[1] ?? ''))];
}

/** The libraries that the packages depend on and the system has not installed. */
async function libraryPackages(packages: readonly string[]): Promise<string[]> {
  const names = await dependenciesOf(packages);
  const libraries = names.filter((name) => /^(lib|lua|zlib)/.test(name) && !NEVER_UNPACKED.test(name));
  const known = await runTool('dpkg-query', ['-W', '-f', `\${Package} \${db:Status-Abbrev}\n`, ...libraries]);
  const installed = new Set([...known.stdout.matchAll(/^(\S+) ii/gm)].map((match) => match[1] ?? ''));
  return libraries.filter((name) => !installed.has(name));
}

/** Packages of one release do not run on another; a home folder may be shared between both. */
export function systemName(): string {
  const release = readFileSync('/etc/os-release', 'utf8');
  const field = (name: string): string => new RegExp(`^${name}="?([\\w.]+)`, 'm').exec(release)?.[1] ?? 'unknown';
  return `${field('ID')}-${field('VERSION_ID')}-${process.arch}`;
}
