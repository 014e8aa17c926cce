import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
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
 * lacks. Nothing is installed: no root needed, no service started, nothing to undo but the folder.
 */
export async function unpackFromApt(packages: readonly string[], folder: string, binary: string): Promise<void> {
  await fetchAndUnpack(packages, folder);
  const fetched = new Set(packages);
  for (let round = 0; round < MAX_LIBRARY_ROUNDS; round += 1) {
    const missing = await missingLibraries(folder, binary);
    if (missing.length === 0) return;
    const wanted = (await libraryPackages([...fetched])).filter((name) => !fetched.has(name));
    if (wanted.length === 0) throw new AptError(`no package found for ${missing.join(', ')}`);
    await fetchAndUnpack(wanted, folder);
    for (const name of wanted) fetched.add(name);
  }
  const missing = await missingLibraries(folder, binary);
  if (missing.length > 0) throw new AptError(`libraries missing: ${missing.join(', ')}`);
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

async function missingLibraries(folder: string, binary: string): Promise<string[]> {
  const path = join(folder, binary);
  const linked = await runTool('ldd', [path], { env: { ...process.env, ...libraryEnvironment(folder) } });
  if (!linked.ok) throw new AptError(`cannot read the libraries of ${path}: ${linked.problem}`);
  return [...linked.stdout.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1] ?? '');
}

/** The libraries that the packages depend on and the system has not installed. */
async function libraryPackages(packages: readonly string[]): Promise<string[]> {
  const args = ['depends', '--important', ...packages];
  const system = await runTool('apt-cache', args);
  const answer = system.ok ? system : await runTool('apt-cache', [...privateListOptions(), ...args]);
  const names = [...answer.stdout.matchAll(/^\s*\|?(?:Pre)?Depends:\s*([a-z0-9.+-]+)/gm)].map(
    (match) => match[1] ?? '',
  );
  const libraries = [...new Set(names)].filter((name) => /^(lib|lua)/.test(name) && !NEVER_UNPACKED.test(name));
  const known = await runTool('dpkg-query', ['-W', '-f', `\${Package} \${db:Status-Abbrev}\n`, ...libraries]);
  const installed = new Set([...known.stdout.matchAll(/^(\S+) ii/gm)].map((match) => match[1] ?? ''));
  return libraries.filter((name) => !installed.has(name));
}
