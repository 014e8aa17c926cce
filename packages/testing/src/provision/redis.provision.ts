import { join } from 'node:path';
import { isAptSystem, libraryEnvironment, systemName, unpackFromApt } from './apt.provision.js';
import { cachedUsable } from './cache-folder.js';
import { locateImage } from './docker.provision.js';
import { type Attempt, firstFound, isAtLeast, type LocatedServer, type ServerSource } from './located-server.js';
import { isExecutable, onPath, runTool } from './run-tool.js';

const MINIMUM = '6.2';
const ADVICE =
  'Install redis-server or valkey-server (6.2 or newer), or set LOCKSTEP_REDIS_SERVER to its path, ' +
  'or set REDIS_URL to a server that runs already.';

// Of Debian's split, redis-tools holds the program and redis-server a link to it; valkey is split the same way.
const APT_VARIANTS = [
  { packages: ['redis-server', 'redis-tools'], binary: 'usr/bin/redis-server' },
  { packages: ['valkey-server', 'valkey-tools'], binary: 'usr/bin/valkey-server' },
];

/**
 * Finds a Redis or Valkey server: `LOCKSTEP_REDIS_SERVER`, PATH, an unpacked package of the system's own sources
 * (Debian, Ubuntu; no root needed), Docker. `LOCKSTEP_REDIS=path|apt|docker` allows one source only.
 * @throws ServerNotAvailableError listing why each source has none
 */
export async function locateRedis(): Promise<LocatedServer> {
  const explicit = process.env.LOCKSTEP_REDIS_SERVER;
  if (explicit !== undefined && explicit !== '') {
    return firstFound('redis', [() => inspect('env', explicit, {})], 'LOCKSTEP_REDIS_SERVER names this file.');
  }
  const sources = { path: fromPath, apt: fromApt, docker: () => locateImage('redis:7-alpine', '7') };
  const only = process.env.LOCKSTEP_REDIS;
  const chosen = Object.entries(sources).filter(([name]) => only === undefined || only === '' || name === only);
  return firstFound(
    'redis',
    chosen.map(([, source]) => source),
    ADVICE,
  );
}

async function fromPath(): Promise<Attempt<LocatedServer>> {
  const missing: string[] = [];
  for (const name of ['redis-server', 'valkey-server']) {
    const binary = onPath(name);
    const attempt = binary === undefined ? { missing: `${name}: not on PATH` } : await inspect('path', binary, {});
    if ('found' in attempt) return attempt;
    missing.push(attempt.missing);
  }
  return { missing: missing.join('; ') };
}

async function fromApt(): Promise<Attempt<LocatedServer>> {
  if (process.platform !== 'linux' || !isAptSystem()) return { missing: 'apt: not a Debian or Ubuntu system' };
  const missing: string[] = [];
  for (const { packages, binary } of APT_VARIANTS) {
    try {
      const name = `${packages[0]}-${systemName()}`;
      const attempt = await cachedUsable(
        name,
        (draft) => unpackFromApt(packages, draft, binary),
        (folder) => inspect('apt', join(folder, binary), libraryEnvironment(folder)),
        async (folder) => (await askVersion(join(folder, binary), libraryEnvironment(folder))).ok,
      );
      if ('found' in attempt) return attempt;
      missing.push(attempt.missing);
    } catch (error) {
      missing.push(error instanceof Error ? error.message : String(error));
    }
  }
  return { missing: `apt: ${missing.join('; ')}` };
}

async function inspect(
  source: ServerSource,
  binary: string,
  env: Record<string, string>,
): Promise<Attempt<LocatedServer>> {
  if (!isExecutable(binary)) return { missing: `${binary}: not an executable file` };
  const answer = await askVersion(binary, env);
  const version = /v=(\d+\.\d+\.\d+)/.exec(answer.stdout)?.[1];
  if (version === undefined) return { missing: `${binary}: ${answer.problem || 'does not tell its version'}` };
  if (!isAtLeast(version, MINIMUM)) return { missing: `${binary}: is ${version}, needed is ${MINIMUM}` };
  return { found: { source, binary, version, env } };
}

function askVersion(binary: string, env: Record<string, string>): ReturnType<typeof runTool> {
  return runTool(binary, ['--version'], { env: { ...process.env, ...env } });
}
