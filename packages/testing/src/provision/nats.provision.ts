import { join } from 'node:path';
import { isAptSystem, libraryEnvironment, systemName, unpackFromApt } from './apt.provision.js';
import { cachedUsable } from './cache-folder.js';
import { locateImage } from './docker.provision.js';
import { type Attempt, firstFound, isAtLeast, type LocatedServer, type ServerSource } from './located-server.js';
import { isExecutable, onPath, runTool } from './run-tool.js';

const MINIMUM = '2.9';
const APT_PACKAGE = 'nats-server';
const APT_BINARY = 'usr/sbin/nats-server';
const ADVICE =
  'Install nats-server (2.9 or newer), or set LOCKSTEP_NATS_SERVER to its path, ' +
  'or set NATS_URL to a server with JetStream that runs already.';

/**
 * Finds a NATS server: `LOCKSTEP_NATS_SERVER`, PATH, an unpacked package of the system's own sources (Debian, Ubuntu; no
 * root needed), Docker. `LOCKSTEP_NATS=path|apt|docker` allows one source only.
 * @throws ServerNotAvailableError listing why each source has none
 */
export async function locateNats(): Promise<LocatedServer> {
  const explicit = process.env.LOCKSTEP_NATS_SERVER;
  if (explicit !== undefined && explicit !== '') {
    return firstFound('nats', [() => inspect('env', explicit, {})], 'LOCKSTEP_NATS_SERVER names this file.');
  }
  const sources = { path: fromPath, apt: fromApt, docker: () => locateImage('nats:2.10-alpine', '2.10') };
  const only = process.env.LOCKSTEP_NATS;
  const chosen = Object.entries(sources).filter(([name]) => only === undefined || only === '' || name === only);
  return firstFound(
    'nats',
    chosen.map(([, source]) => source),
    ADVICE,
  );
}

async function fromPath(): Promise<Attempt<LocatedServer>> {
  // Debian installs it among the programs of the system, which are not on everybody's PATH.
  const binary = onPath('nats-server') ?? '/usr/sbin/nats-server';
  return inspect('path', binary, {});
}

async function fromApt(): Promise<Attempt<LocatedServer>> {
  if (process.platform !== 'linux' || !isAptSystem()) return { missing: 'apt: not a Debian or Ubuntu system' };
  try {
    const attempt = await cachedUsable(
      `${APT_PACKAGE}-${systemName()}`,
      (draft) => unpackFromApt([APT_PACKAGE], draft, APT_BINARY),
      (folder) => inspect('apt', join(folder, APT_BINARY), libraryEnvironment(folder)),
      async (folder) => (await askVersion(join(folder, APT_BINARY), libraryEnvironment(folder))).ok,
    );
    return 'found' in attempt ? attempt : { missing: `apt: ${attempt.missing}` };
  } catch (error) {
    return { missing: `apt: ${error instanceof Error ? error.message : String(error)}` };
  }
}

async function inspect(
  source: ServerSource,
  binary: string,
  env: Record<string, string>,
): Promise<Attempt<LocatedServer>> {
  if (!isExecutable(binary)) return { missing: `${binary}: not an executable file` };
  const answer = await askVersion(binary, env);
  const version = /v(\d+\.\d+\.\d+)/.exec(answer.stdout)?.[1];
  if (version === undefined) return { missing: `${binary}: ${answer.problem || 'does not tell its version'}` };
  if (!isAtLeast(version, MINIMUM)) return { missing: `${binary}: is ${version}, needed is ${MINIMUM}` };
  return { found: { source, binary, version, env } };
}

function askVersion(binary: string, env: Record<string, string>): ReturnType<typeof runTool> {
  return runTool(binary, ['--version'], { env: { ...process.env, ...env } });
}
