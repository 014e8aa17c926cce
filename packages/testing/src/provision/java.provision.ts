import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  dependenciesOf,
  isAptSystem,
  libraryEnvironment,
  relinkConfiguration,
  systemName,
  unpackFromApt,
} from './apt.provision.js';
import { cachedUsable } from './cache-folder.js';
import type { Attempt } from './located-server.js';
import { isExecutable, onPath, runTool } from './run-tool.js';

const JVM_ROOT = 'usr/lib/jvm';
const META_PACKAGE = 'default-jre-headless';

/** A Java that answers `-version`, with what it needs in its environment. */
export interface LocatedJava {
  readonly binary: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Finds a Java: `JAVA_HOME`, PATH, the headless runtime of the system's own package source, unpacked into the cache. */
export async function locateJava(): Promise<Attempt<LocatedJava>> {
  const missing: string[] = [];
  const home = process.env.JAVA_HOME;
  const local = [home === undefined || home === '' ? undefined : join(home, 'bin', 'java'), onPath('java')];
  for (const binary of local.filter((path) => path !== undefined)) {
    const attempt = await inspect({ binary, env: {} });
    if ('found' in attempt) return attempt;
    missing.push(attempt.missing);
  }
  const unpacked = await fromApt();
  if ('found' in unpacked) return unpacked;
  return { missing: ['java: not on PATH and not in JAVA_HOME', ...missing, unpacked.missing].join('; ') };
}

async function fromApt(): Promise<Attempt<LocatedJava>> {
  if (process.platform !== 'linux' || !isAptSystem()) return { missing: 'apt: not a Debian or Ubuntu system' };
  const javaIn = (folder: string): LocatedJava => ({
    binary: join(folder, javaFolders(folder)[0] ?? JVM_ROOT, 'bin', 'java'),
    env: libraryEnvironment(folder),
  });
  try {
    return await cachedUsable(`java-${systemName()}`, fill, (folder) => inspect(javaIn(folder)));
  } catch (error) {
    return { missing: `apt: ${error instanceof Error ? error.message : String(error)}` };
  }
}

async function fill(folder: string): Promise<void> {
  const packages = (await dependenciesOf([META_PACKAGE])).filter((name) => /^openjdk-\d+-jre-headless$/.test(name));
  // The launcher loads the machine itself at run time, so both must find their libraries.
  const linked = (): string[] =>
    javaFolders(folder).flatMap((home) => [join(home, 'bin', 'java'), join(home, 'lib', 'server', 'libjvm.so')]);
  await unpackFromApt(packages, folder, linked);
  relinkConfiguration(folder, JVM_ROOT);
}

/** Real folders only: beside each stands a link to it under another name. */
function javaFolders(folder: string): string[] {
  const root = join(folder, JVM_ROOT);
  if (!existsSync(root)) return [];
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(root, entry.name, 'bin', 'java')))
    .map((entry) => join(JVM_ROOT, entry.name));
}

async function inspect(java: LocatedJava): Promise<Attempt<LocatedJava>> {
  if (!isExecutable(java.binary)) return { missing: `${java.binary}: not an executable file` };
  const answer = await runTool(java.binary, ['-version'], { env: { ...process.env, ...java.env } });
  return answer.ok ? { found: java } : { missing: `${java.binary}: ${answer.problem}` };
}
