import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { dependenciesOf, isAptSystem, systemName, unpackFromApt } from './apt.provision.js';
import { cached } from './cache-folder.js';
import { locateImage } from './docker.provision.js';
import { locateJava } from './java.provision.js';
import { type Attempt, firstFound, isAtLeast, type LocatedZooKeeper, type ServerSource } from './located-server.js';
import { onPath, runTool } from './run-tool.js';

const MINIMUM = '3.5';
const IMAGE = 'zookeeper:3.9';
const SYSTEM_JARS = '/usr/share/java';
const APT_PACKAGE = 'libzookeeper-java';
const ADVICE =
  'Install ZooKeeper 3.5 or newer and Java, or set LOCKSTEP_ZOOKEEPER_HOME to the folder of an unpacked ZooKeeper, ' +
  'or LOCKSTEP_ZOOKEEPER_CLASSPATH to its jars.';

// Debian keeps the jars of all its Java programs in one folder, some of which would quarrel over the log.
const SERVER_JARS = /^(zookeeper|zookeeper-jute|slf4j-(api|simple)|metrics-core|snappy-java|commons-(cli|io|lang))\b/;
const OTHER_ZOOKEEPER_JARS = /^zookeeper-(contrib|it|recipes|prometheus|client)/;

/**
 * Finds ZooKeeper and a Java to run it: `LOCKSTEP_ZOOKEEPER_HOME` or `LOCKSTEP_ZOOKEEPER_CLASSPATH`, the machine's own
 * (`/usr/share/java`, `zkServer.sh` on PATH), unpacked packages of the system's own sources (Debian, Ubuntu; no root
 * needed), Docker. `LOCKSTEP_ZOOKEEPER=path|apt|docker` allows one source only; Java comes from `JAVA_HOME`, PATH or the
 * packages in any case.
 * @throws ServerNotAvailableError listing why each source has none
 */
export async function locateZooKeeper(): Promise<LocatedZooKeeper> {
  const home = process.env.LOCKSTEP_ZOOKEEPER_HOME;
  if (home !== undefined && home !== '') {
    return firstFound('zookeeper', [() => inspect('env', jarsOfHome(home), home)], 'LOCKSTEP_ZOOKEEPER_HOME names it.');
  }
  const jars = process.env.LOCKSTEP_ZOOKEEPER_CLASSPATH;
  if (jars !== undefined && jars !== '') {
    const named = (): Promise<Attempt<LocatedZooKeeper>> =>
      inspect('env', jars.split(delimiter), 'the given classpath');
    return firstFound('zookeeper', [named], 'LOCKSTEP_ZOOKEEPER_CLASSPATH names it.');
  }
  const only = process.env.LOCKSTEP_ZOOKEEPER;
  const sources = { path: fromMachine, apt: fromApt, docker: fromDocker };
  const chosen = Object.entries(sources).filter(([name]) => only === undefined || only === '' || name === only);
  return firstFound(
    'zookeeper',
    chosen.map(([, source]) => source),
    ADVICE,
  );
}

async function fromMachine(): Promise<Attempt<LocatedZooKeeper>> {
  const missing: string[] = [];
  for (const script of ['zkServer.sh', 'zkServer'].flatMap((name) => onPath(name) ?? [])) {
    const home = dirname(dirname(realpathSync(script)));
    const attempt = await inspect('path', jarsOfHome(home), home);
    if ('found' in attempt) return attempt;
    missing.push(attempt.missing);
  }
  const attempt = await inspect('path', serverJars(SYSTEM_JARS), SYSTEM_JARS);
  if ('found' in attempt) return attempt;
  return { missing: [...missing, attempt.missing].join('; ') };
}

async function fromApt(): Promise<Attempt<LocatedZooKeeper>> {
  if (process.platform !== 'linux' || !isAptSystem()) return { missing: 'apt: not a Debian or Ubuntu system' };
  try {
    const folder = await cached(`zookeeper-${systemName()}`, async (draft) => {
      const libraries = (await dependenciesOf([APT_PACKAGE])).filter((name) => /^lib.+-java$/.test(name));
      await unpackFromApt([APT_PACKAGE, ...libraries], draft, () => []);
    });
    const jars = join(folder, SYSTEM_JARS);
    const attempt = await inspect('apt', serverJars(jars), jars);
    return 'found' in attempt ? attempt : { missing: `apt: ${attempt.missing}` };
  } catch (error) {
    return { missing: `apt: ${error instanceof Error ? error.message : String(error)}` };
  }
}

async function fromDocker(): Promise<Attempt<LocatedZooKeeper>> {
  const attempt = await locateImage(IMAGE, '3.9');
  return 'found' in attempt ? { found: { ...attempt.found, classpath: [] } } : attempt;
}

/** An unpacked ZooKeeper has its jars in `lib`, some older ones also beside it. */
function jarsOfHome(home: string): string[] {
  return [join(home, 'lib'), home].flatMap((folder) => jarsOf(folder));
}

function serverJars(folder: string): string[] {
  return jarsOf(folder, (name) => SERVER_JARS.test(name) && !OTHER_ZOOKEEPER_JARS.test(name));
}

/** Real paths, each once: most jars stand there with and without a version in their name. */
function jarsOf(folder: string, wanted: (name: string) => boolean = () => true): string[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith('.jar') && wanted(name));
  const present = names.map((name) => join(folder, name)).filter((path) => existsSync(path));
  return [...new Set(present.map((path) => realpathSync(path)))];
}

async function inspect(
  source: ServerSource,
  classpath: readonly string[],
  place: string,
): Promise<Attempt<LocatedZooKeeper>> {
  if (!classpath.some((path) => /zookeeper[^/]*(\.jar|\*)$/.test(path))) {
    return { missing: `zookeeper: no jar of it in ${place}` };
  }
  const java = await locateJava();
  if (!('found' in java)) return java;
  const { binary, env } = java.found;
  const args = ['-cp', classpath.join(delimiter), 'org.apache.zookeeper.version.VersionInfoMain'];
  const answer = await runTool(binary, args, { env: { ...process.env, ...env } });
  const version = /version[: ]+(\d+\.\d+\.\d+)/i.exec(answer.stdout)?.[1];
  if (version === undefined) return { missing: `${place}: ${answer.problem || 'does not tell its version'}` };
  if (!isAtLeast(version, MINIMUM)) return { missing: `${place}: is ${version}, needed is ${MINIMUM}` };
  return { found: { source, binary, version, env, classpath } };
}
