import 'reflect-metadata';
import { type Sql, type SqlTransaction, TransactionMisuseError } from '@lockstep/sql';
import { eventually, seed, seededRandom } from '@lockstep/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';
import { TEST_SERVERS } from './support/test-servers.js';

const INSERT = 'INSERT INTO entry (name) VALUES ($1)';

describe.each(TEST_SERVERS)('what is sent lastly on $name', (server) => {
  const database = server.use();
  const isPostgres = server.name === 'postgres';
  let application: SqlApplication;
  let sql: Sql;

  beforeAll(async () => {
    application = await startSql({ url: database.url, maxConnections: 2 });
    sql = application.sql;
    await sql.execute('CREATE TABLE entry (name varchar(200) PRIMARY KEY)');
    if (isPostgres) await sql.execute('CREATE TABLE guarded (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)');
  });
  beforeEach(async () => {
    await sql.execute('DELETE FROM entry');
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });
  afterAll(() => application.app.close());

  const names = async () =>
    (await sql.query<{ name: string }>('SELECT name FROM entry ORDER BY name')).map((row) => row.name);
  const lastly = (tx: SqlTransaction, name: unknown, text = INSERT) => tx.lastly?.(text, [name]);

  it('is committed with the transaction, behind everything else that it does', async () => {
    await sql.transaction(async (tx) => {
      lastly(tx, 'last');
      tx.beforeCommit?.(async () => {
        expect(await tx.query('SELECT 1 FROM entry')).toHaveLength(1);
      });
      await tx.execute(INSERT, ['first']);
    });
    expect(await names()).toEqual(['first', 'last']);
  });

  it('is not there when the transaction rolls back', async () => {
    const work = sql.transaction(async (tx) => {
      lastly(tx, 'a');
      throw new Error('no');
    });
    await expect(work).rejects.toThrow('no');
    expect(await names()).toEqual([]);
  });

  it('is forgotten with its savepoint, and only then', async () => {
    await sql.transaction(async (tx) => {
      lastly(tx, 'before');
      const undone = tx.savepoint?.(async () => {
        lastly(tx, 'undone');
        throw new Error('no');
      });
      await expect(undone).rejects.toThrow('no');
      await tx.savepoint?.(async () => lastly(tx, 'done'));
    });
    expect(await names()).toEqual(['before', 'done']);
  });

  it('rolls everything back by its error, which is that of the transaction, and leaves a connection that works', async () => {
    for (let round = 0; round < 5; round += 1) {
      const work = sql.transaction(async (tx) => {
        await tx.execute(INSERT, ['a']);
        lastly(tx, 'b');
        lastly(tx, 'a');
        lastly(tx, 'c');
      });
      await expect(work).rejects.toMatchObject({ code: isPostgres ? '23505' : 'ER_DUP_ENTRY' });
      expect(await names()).toEqual([]);
    }
    await sql.transaction(async (tx) => lastly(tx, 'd'));
    expect(await names()).toEqual(['d']);
  });

  it('is the same text afterwards, whatever is in it', async () => {
    const random = seededRandom(seed());
    const pieces = ["'", '"', '\\', '$1', '$$', '--', '/*', '*/', ';', '\n', 'E', '%', 'é', '😀', ' ', "\\'", 'COMMIT'];
    const texts = Array.from({ length: 60 }, (_, n) =>
      [`${n}`, ...Array.from({ length: 12 }, () => random.pick(pieces))].join(''),
    );
    for (const text of texts) await sql.transaction(async (tx) => lastly(tx, text));
    expect(new Set(await names())).toEqual(new Set(texts));
  });

  it('may be a statement that cannot be written into another one', async () => {
    await sql.transaction(async (tx) => {
      lastly(tx, 'plain');
      lastly(tx, 'quoted!', "INSERT INTO entry (name) VALUES (REPLACE($1, '!', '; $1'))");
      tx.lastly?.("INSERT INTO entry (name) VALUES ('no parameter')");
    });
    expect(await names()).toEqual(['no parameter', 'plain', 'quoted; $1']);
  });

  it('may not end the transaction', async () => {
    const work = sql.transaction(async (tx) => tx.lastly?.('COMMIT'));
    await expect(work).rejects.toThrow(TransactionMisuseError);
  });

  it('is refused in a transaction of which the error of a statement was caught', async () => {
    const work = sql.transaction(async (tx) => {
      await tx.execute(INSERT, ['a']);
      await tx.execute(INSERT, ['a']).catch(() => undefined);
      lastly(tx, 'b');
    });
    if (isPostgres) {
      await expect(work).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED', cause: { code: '23505' } });
      expect(await names()).toEqual([]);
    } else {
      await work;
      expect(await names()).toEqual(['a', 'b']);
    }
  });

  if (!isPostgres) return;

  it('costs no round trip of its own', async () => {
    const query = vi.spyOn(pg.Client.prototype, 'query');
    await sql.transaction(async (tx) => {
      await tx.execute(INSERT, ['first']);
      lastly(tx, "it's");
      lastly(tx, null, 'INSERT INTO entry (name) SELECT coalesce($1, current_database()::text)');
    });
    expect(query.mock.calls.map(([text]) => String(text).split(' ')[0])).toEqual(['BEGIN', 'INSERT', 'INSERT']);
  });

  it('sends a long text on its own, so that a commit in doubt is one that was short', async () => {
    const query = vi.spyOn(pg.Client.prototype, 'query');
    const long = 'x'.repeat(200_000);
    await sql.transaction(async (tx) => lastly(tx, long, 'INSERT INTO entry (name) SELECT length($1)::text'));
    expect(query.mock.calls.map(([text]) => String(text).split(' ')[0])).toEqual(['BEGIN', 'INSERT', 'COMMIT']);
    expect(await names()).toEqual(['200000']);
  });

  it('waits for the locks of others as long as any statement does, and then commits', async () => {
    const patient = await startSql({ url: database.url, commitTimeout: 300 });
    const blocker = new pg.Client(database.url);
    await blocker.connect();
    await blocker.query('BEGIN; LOCK TABLE entry IN ACCESS EXCLUSIVE MODE');
    const work = patient.sql.transaction(async (tx) => lastly(tx, 'patient'));
    const waits = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%COMMIT'
      AND clock_timestamp() - query_start > interval '600 milliseconds'`;
    await eventually(async () => expect(await sql.query(waits)).toHaveLength(1));
    await blocker.query('COMMIT');
    await blocker.end();
    await work;
    expect(await names()).toEqual(['patient']);
    await patient.app.close();
  });

  it('sends a text with a NUL on its own, where the server refuses it', async () => {
    const work = sql.transaction(async (tx) => lastly(tx, `a\0'); DROP TABLE entry; --`));
    await expect(work).rejects.toMatchObject({ code: '22021' });
    expect(await names()).toEqual([]);
  });

  it('tells a refusal of the commit from one of its own', async () => {
    const work = sql.transaction(async (tx) => {
      await tx.execute("INSERT INTO guarded VALUES ('a'), ('a')");
      lastly(tx, 'b');
    });
    await expect(work).rejects.toMatchObject({ code: '23505' });
    expect(await names()).toEqual([]);
  });

  it('knows that nothing is committed when the server itself failed at the statement', async () => {
    await sql.execute(`CREATE FUNCTION fail() RETURNS text LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$`);
    const work = sql.transaction(async (tx) => lastly(tx, 'x', 'INSERT INTO entry (name) SELECT fail() || $1'));
    await expect(work).rejects.toMatchObject({ code: '53100' });
    expect(await names()).toEqual([]);
  });
});
