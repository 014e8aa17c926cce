import 'reflect-metadata';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { MigrationSet, SqlModuleOptions } from '@lockstep/sql';
import { MigrationError } from '@lockstep/sql';
import { eventually, spawnNode, startFaultProxy } from '@lockstep/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';
import { TEST_SERVERS } from './support/test-servers.js';

describe.each(TEST_SERVERS)('migrations on $name', (server) => {
  const database = server.use();
  const isPostgres = server.name === 'postgres';
  const started: SqlApplication[] = [];
  let folder: string;
  let set: MigrationSet;
  let table = 0;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lockstep-migrations-'));
    table += 1;
    set = { name: `set_${table}`, directory: pathToFileURL(`${folder}/`) };
  });
  afterEach(async () => {
    await Promise.all(started.splice(0).map(({ app }) => app.close()));
    await rm(folder, { recursive: true });
  });

  const start = async (options: SqlModuleOptions = {}, url = database.url) => {
    const application = await startSql({ url, ...options });
    started.push(application);
    return application;
  };
  const file = (name: string, statements: string) => writeFile(join(folder, name), statements);
  const first = () => file('000001_first.sql', `CREATE TABLE t${table} (id int); INSERT INTO t${table} VALUES (1);`);
  const second = () => file('000002_second.sql', `INSERT INTO t${table} VALUES (2);`);
  const ids = async ({ sql }: SqlApplication) =>
    (await sql.query<{ id: number }>(`SELECT id FROM t${table} ORDER BY id`)).map(({ id }) => id);

  it('are applied in order, each once, also by processes that come later and bring more', async () => {
    await first();
    const early = await start();
    await early.sql.ensureMigrated(set);
    await early.sql.ensureMigrated(set);
    await second();
    const later = await start();
    await later.sql.ensureMigrated(set);
    expect(await ids(later)).toEqual([1, 2]);
    const log = await later.sql.query('SELECT version, file FROM lockstep_migrations WHERE set_name = $1 ORDER BY 1', [
      set.name,
    ]);
    expect(log).toEqual([
      { version: 1, file: '000001_first.sql' },
      { version: 2, file: '000002_second.sql' },
    ]);
  });

  it('are applied once by ten processes that start at the same moment', async () => {
    await file('000001_first.sql', `CREATE TABLE t${table} (id int); ${server.sleep(0.2)};`);
    await second();
    const entry = new URL('./support/migrate-process.mjs', import.meta.url);
    const children = Array.from({ length: 10 }, () => spawnNode(entry, { args: [database.url, set.directory.href] }));
    await Promise.all(children.map((child) => child.waitForMessage((message) => message === 'ready', 50_000)));
    for (const child of children) child.send('go');
    await Promise.all(children.map((child) => child.waitForMessage((message) => message === 'migrated', 50_000)));
    expect(await Promise.all(children.map((child) => child.exited))).toEqual(Array(10).fill({ code: 0, signal: null }));
    expect(await ids(await start())).toEqual([2]);
  }, 120_000);

  it.runIf(isPostgres)('that fail leave nothing behind, and are tried again by the next call', async () => {
    await first();
    await file('000002_second.sql', 'SELECT nonsense');
    const application = await start();
    await expect(application.sql.ensureMigrated(set)).rejects.toMatchObject(server.unknownColumn);
    await expect(ids(application)).rejects.toMatchObject(server.unknownTable);
    await second();
    await application.sql.ensureMigrated(set);
    expect(await ids(application)).toEqual([1, 2]);
  });

  it.runIf(!isPostgres)(
    'that fail half-way keep what is done, and the next call runs the file again from its start',
    async () => {
      await first();
      const beginning = `CREATE TABLE IF NOT EXISTS more${table} (id int);`;
      await file('000002_second.sql', `${beginning} SELECT nonsense; INSERT INTO t${table} VALUES (2)`);
      const application = await start();
      await expect(application.sql.ensureMigrated(set)).rejects.toMatchObject(server.unknownColumn);
      expect(await application.sql.query(`SELECT id FROM more${table}`)).toEqual([]);
      expect(await ids(application)).toEqual([1]);
      // The lock went with the session of the failure: another process gets it at once.
      await file('000002_second.sql', `${beginning} INSERT INTO t${table} VALUES (2); -- the end;`);
      await (await start()).sql.ensureMigrated(set);
      expect(await ids(application)).toEqual([1, 2]);
    },
  );

  it('of a process that is killed between two statements are made up for by the next one', async () => {
    await file(
      '000001_first.sql',
      `CREATE TABLE IF NOT EXISTS t${table} (id int); ${server.sleep(2)}; INSERT INTO t${table} VALUES (1);`,
    );
    const entry = new URL('./support/migrate-process.mjs', import.meta.url);
    const child = spawnNode(entry, { args: [database.url, set.directory.href, set.name] });
    await child.waitForMessage((message) => message === 'ready', 50_000);
    child.send('go');
    const observer = await server.connect(database.url);
    await eventually(async () => expect(await observer.query(server.findSleeping)).toHaveLength(1));
    await child.sigkill();
    await observer.end();
    await file('000001_first.sql', `CREATE TABLE IF NOT EXISTS t${table} (id int); INSERT INTO t${table} VALUES (1);`);
    const application = await start();
    await eventually(() => application.sql.ensureMigrated(set), { timeoutMs: 20_000 });
    expect(await ids(application)).toEqual([1]);
  }, 60_000);

  it('whose file was changed after it had been applied are an error that names it', async () => {
    await first();
    await (await start()).sql.ensureMigrated(set);
    await file('000001_first.sql', 'SELECT 1');
    const error = await (await start()).sql.ensureMigrated(set).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(MigrationError);
    expect(error).toMatchObject({ code: 'MIGRATION_INVALID', fields: { set: set.name, file: '000001_first.sql' } });
    expect(String(error)).toContain('000001_first.sql was changed');
  });

  it('are the same with the line ends of Windows', async () => {
    await file('000001_first.sql', `CREATE TABLE t${table} (\n id int\n)`);
    await (await start()).sql.ensureMigrated(set);
    await file('000001_first.sql', `CREATE TABLE t${table} (\r\n id int\r\n)`);
    await (await start()).sql.ensureMigrated(set);
  });

  it('of a newer release do not stop an older process of a rolling deployment, and are reported', async () => {
    await first();
    await second();
    await (await start()).sql.ensureMigrated(set);
    await rm(join(folder, '000002_second.sql'));
    const older = await start();
    await older.sql.ensureMigrated(set);
    expect(older.incidents).toEqual(['SQL_DATABASE_NEWER']);
    expect(await ids(older)).toEqual([1, 2]);
  });

  it('whose numbers have a gap are an error that says what should be there', async () => {
    await first();
    await second();
    await rename(join(folder, '000002_second.sql'), join(folder, '000003_third.sql'));
    await expect((await start()).sql.ensureMigrated(set)).rejects.toThrow(/000003_third\.sql where 000002_name\.sql/);
  });

  it("with 'verify' are not applied, but looked for", async () => {
    await first();
    const verifying = await start({ migrations: 'verify' });
    await expect(verifying.sql.ensureMigrated(set)).rejects.toThrow(/000001_first\.sql has not been applied/);
    await expect(ids(verifying)).rejects.toMatchObject(server.unknownTable);
    await (await start()).sql.ensureMigrated(set);
    await verifying.sql.ensureMigrated(set);
  });

  it("with 'off' are nobody's business", async () => {
    await file('not a migration.sql', '');
    await (await start({ migrations: 'off' })).sql.ensureMigrated(set);
  });

  it('take no part in an open transaction', async () => {
    await first();
    const application = await start();
    const work = application.sql.transaction(async () => {
      await application.sql.ensureMigrated(set);
      throw new Error('no');
    });
    await expect(work).rejects.toThrow('no');
    expect(await ids(application)).toEqual([1]);
  });

  it('at boot let the application start while the database is away, and are made up for later', async () => {
    await first();
    const proxy = await startFaultProxy({ target: database.url });
    proxy.refuse();
    const application = await start({}, proxy.urlFor(database.url));
    await application.sql.migrateAtBoot(set);
    expect(application.incidents).toEqual(['SQL_UNAVAILABLE_AT_BOOT']);
    await proxy.heal();
    await application.sql.ensureMigrated(set);
    expect(await ids(application)).toEqual([1]);
    await application.app.close();
    started.length = 0;
    await proxy.stop();
  });
});
