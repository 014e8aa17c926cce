import { existsSync, lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Attempt } from './located-server.js';

/**
 * The folder that keeps unpacked servers between runs: `LOCKSTEP_CACHE`, else `$XDG_CACHE_HOME/lockstep`, else
 * `~/.cache/lockstep`, else (a user without a home) one of this user's own below the temporary folder.
 */
export function cacheFolder(): string {
  const named = process.env.LOCKSTEP_CACHE;
  if (named !== undefined && named !== '') return ensured(named);
  const xdg = process.env.XDG_CACHE_HOME;
  const wanted = xdg !== undefined && xdg !== '' ? join(xdg, 'lockstep') : join(homedir(), '.cache', 'lockstep');
  try {
    return ensured(wanted);
  } catch {
    return ownTemporaryFolder(0o700);
  }
}

/**
 * Fills `cache/name` by `fill` once. Two processes may do it at the same time: each fills a folder of its own, the
 * first rename wins, the other's work is thrown away. What is under the final name is therefore always whole.
 */
export async function cached(
  name: string,
  fill: (folder: string) => Promise<void>,
  parent: string = cacheFolder(),
): Promise<string> {
  const target = join(parent, name);
  if (existsSync(target)) return target;
  const draft = mkdtempSync(join(parent, `.${name}-`));
  try {
    await fill(draft);
    publish(draft, target);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return target;
}

/**
 * What `inspect` finds in `cache/name`, which is filled as by {@link cached}. A folder that was there and does not run
 * here is filled once more: another machine that shares the cache may have filled it, which had libraries that this one
 * lacks. The folder stays as it is where that fails.
 * @param runs asked when nothing was found; by default that alone says that it does not run
 */
export async function cachedUsable<Found>(
  name: string,
  fill: (folder: string) => Promise<void>,
  inspect: (folder: string) => Promise<Attempt<Found>>,
  runs: (folder: string) => Promise<boolean> = async () => false,
): Promise<Attempt<Found>> {
  const parent = cacheFolder();
  const before = identityOf(join(parent, name));
  const folder = await cached(name, fill, parent);
  const attempt = await inspect(folder);
  if ('found' in attempt || before === undefined || (await runs(folder))) return attempt;
  try {
    await replace(folder, before, fill);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { missing: `${attempt.missing}; it could not be filled again: ${problem}` };
  }
  return inspect(folder);
}

/** Nothing is replaced that another process has filled meanwhile. */
async function replace(folder: string, stale: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const draft = mkdtempSync(join(dirname(folder), `.${basename(folder)}-`));
  const old = `${draft}-old`;
  try {
    await fill(draft);
    if (identityOf(folder) === stale) renameSync(folder, old);
    publish(draft, folder);
  } finally {
    for (const path of [draft, old]) rmSync(path, { recursive: true, force: true });
  }
}

function identityOf(folder: string): string | undefined {
  const found = statSync(folder, { throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}`;
}

function publish(draft: string, target: string): void {
  try {
    renameSync(draft, target);
  } catch (error) {
    if (!existsSync(target)) throw error;
  }
}

function ensured(folder: string): string {
  mkdirSync(folder, { recursive: true });
  return folder;
}

/**
 * This user's own folder below the temporary one. Others can guess its name in a place that all can write: it must be
 * ours and writable by nobody else, or its binaries are not to be run.
 */
export function ownTemporaryFolder(mode: 0o700 | 0o755): string {
  const owner = process.getuid?.() ?? 0;
  const folder = join(tmpdir(), `lockstep-cache-${owner}-${mode.toString(8)}`);
  mkdirSync(folder, { recursive: true, mode });
  const found = lstatSync(folder);
  const isOurs = found.isDirectory() && found.uid === owner && (found.mode & 0o022) === 0;
  if (!isOurs) throw new Error(`${folder} is not this user's own folder`);
  return folder;
}
