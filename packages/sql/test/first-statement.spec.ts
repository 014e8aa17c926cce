import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import { type IsolationLevel, type Sql, type SqlTransaction, TransactionAbortedError } from '@lockstep/sql';
import { eventually, seed, seededRandom, startFaultProxy } from '@lockstep/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';
import { TEST_SERVERS } from './support/test-servers.js';

const INSERT = 'INSERT INTO entry (name) VALUES ($1)';
const BROKEN = 'INSERT INTO INTO entry (name) VALUES ($1)';

describe.each(TEST_SERVERS)('a transaction that begins with its first statement, on $name,', (server) => {
  const database = server.use();
  const isPostgres = server.name === 'postgres';
  let application: SqlApplication;
  let sql: Sql;

  beforeAll(async () => {
    application = await startSql({ url: database.url, maxConnections: 2 });
    sql = application.sql;
    await sql.execute('CREATE TABLE entry (name varchar(200) PRIMARY KEY)');
  });
  beforeEach(async () => {
    await sql.execute('DELETE FROM entry');
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });
  afterAll(() => application.app.close());

  const transaction = <T>(fn: (tx: SqlTransaction) => Promise<T>, isolation?: IsolationLevel) =>
    sql.transaction(fn, { begin: 'with-first-statement', ...(isolation && { isolation }) });
  const names = async () =>
    (await sql.query<{ name: string }>('SELECT name FROM entry ORDER BY name')).map((row) => row.name);

  it('is committed as a whole, and rolled back as a whole', async () => {
    await transaction(async (tx) => {
      await tx.execute(INSERT, ['a']);
      await tx.execute(INSERT, ['b']);
    });
    const work = transaction(async (tx) => {
      await tx.execute(INSERT, ['c']);
      throw new Error('no');
    });
    await expect(work).rejects.toThrow('no');
    expect(await names()).toEqual(['a', 'b']);
  });

  it('gives the rows and the count of the first statement', async () => {
    expect(await transaction((tx) => tx.execute(INSERT, ['a']))).toBe(1);
    expect(await transaction((tx) => tx.execute('DELETE FROM entry WHERE name = $1', ['none']))).toBe(0);
    expect(await transaction((tx) => tx.query('SELECT name FROM entry WHERE name = $1', ['a']))).toEqual([
      { name: 'a' },
    ]);
    expect(await transaction((tx) => tx.query('SELECT name FROM entry WHERE name = $1', ['none']))).toEqual([]);
  });

  it('runs first statements that are sent at the same time in their order, all of them in it', async () => {
    const work = transaction(async (tx) => {
      await Promise.all([
        tx.execute(INSERT, ['a']),
        tx.execute('UPDATE entry SET name = $1', ['b']),
        tx.execute(INSERT, ['a']),
      ]);
      expect(await tx.query('SELECT name FROM entry ORDER BY name')).toEqual([{ name: 'a' }, { name: 'b' }]);
      throw new Error('no');
    });
    await expect(work).rejects.toThrow('no');
    expect(await names()).toEqual([]);
  });

  it('commits and rolls back without any statement, and leaves a connection that works', async () => {
    const hooks: string[] = [];
    for (let round = 0; round < 5; round += 1) {
      await transaction(async (tx) => tx.afterCommit?.(() => hooks.push('committed')));
      await expect(transaction(async () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    }
    expect(hooks).toHaveLength(5);
    expect(await Promise.all([1, 2].map(() => transaction((tx) => tx.query('SELECT 1 AS one'))))).toHaveLength(2);
  });

  it('may begin with a savepoint, which is undone alone', async () => {
    await transaction(async (tx) => {
      const undone = tx.savepoint?.(async () => {
        await tx.execute(INSERT, ['undone']);
        throw new Error('no');
      });
      await expect(undone).rejects.toThrow('no');
      await tx.execute(INSERT, ['kept']);
    });
    expect(await names()).toEqual(['kept']);
  });

  it('may have nothing but what is sent lastly', async () => {
    await transaction(async (tx) => tx.lastly?.(INSERT, ['a']));
    const refused = transaction(async (tx) => {
      tx.lastly?.(INSERT, ['b']);
      tx.lastly?.(INSERT, ['a']);
    });
    await expect(refused).rejects.toMatchObject(server.duplicate);
    const unreadable = transaction(async (tx) => {
      tx.lastly?.(INSERT, ['b']);
      tx.lastly?.(BROKEN, ['c']);
    });
    await expect(unreadable).rejects.toMatchObject({ code: isPostgres ? '42601' : 'ER_PARSE_ERROR' });
    expect(await names()).toEqual(['a']);
  });

  it.each([
    ['is refused', INSERT, 'duplicate'],
    ['cannot be read', BROKEN, undefined],
  ] as const)('whose first statement %s rejects with its error', async (_, text, error) => {
    await sql.execute(INSERT, ['a']);
    for (let round = 0; round < 5; round += 1) {
      const work = transaction((tx) => tx.execute(text, ['a']));
      await expect(work).rejects.toMatchObject(
        error ? server[error] : { code: isPostgres ? '42601' : 'ER_PARSE_ERROR' },
      );
    }
    expect(await transaction((tx) => tx.query('SELECT name FROM entry'))).toHaveLength(1);
  });

  it('has the isolation level that it asks for from the first statement on', async () => {
    const work = transaction(async (tx) => {
      await tx.query('SELECT name FROM entry');
      await sql.execute(INSERT, ['a']);
      return tx.query('SELECT name FROM entry');
    }, 'repeatable read');
    expect(await work).toEqual([]);
    expect(await transaction((tx) => server.isolationOf(tx), 'serializable')).toBe('serializable');
  });

  it('keeps whatever text its first statement brings as it is', async () => {
    const random = seededRandom(seed());
    const pieces = ["'", '"', '\\', '$1', '$$', '--', '/*', '*/', ';', '\n', 'E', '%', 'é', '😀', ' ', "\\'", 'COMMIT'];
    const texts = Array.from({ length: 60 }, (_, n) =>
      [`${n}`, ...Array.from({ length: 12 }, () => random.pick(pieces))].join(''),
    );
    for (const text of texts) await transaction((tx) => tx.execute(INSERT, [text]));
    expect(new Set(await names())).toEqual(new Set(texts));
  });

  it('finds out by its first statement that the connection is dead, and nothing is applied', async () => {
    const proxy = await startFaultProxy({ target: database.url });
    const behind = await startSql({
      url: proxy.urlFor(database.url),
      maxConnections: 1,
      commandTimeout: '2s',
      statementTimeout: '600ms',
    });
    const notApplied = { code: 'STORE_UNAVAILABLE', outcome: 'not-applied' };
    const begin = { begin: 'with-first-statement' } as const;
    try {
      const id = await behind.sql.query(server.sessionId);
      const work = behind.sql.transaction(async (tx) => {
        proxy.blackhole();
        await expect(tx.execute(INSERT, ['a'])).rejects.toMatchObject(notApplied);
        await expect(tx.execute(INSERT, ['b'])).rejects.toMatchObject(notApplied);
      }, begin);
      await expect(work).rejects.toMatchObject(notApplied);
      await proxy.heal();
      await eventually(async () => expect(await behind.sql.query(server.sessionId)).not.toEqual(id));
      proxy.dropAfter(0, 'toClient');
      await expect(behind.sql.transaction((tx) => tx.execute(INSERT, ['c']), begin)).rejects.toMatchObject(notApplied);
      await proxy.heal();
      expect(await names()).toEqual([]);
    } finally {
      await behind.app.close();
      await proxy.stop();
    }
  });

  it('is an option with two values', async () => {
    const work = sql.transaction(async () => 1, { begin: 'never' as 'at-once' });
    await expect(work).rejects.toThrow(ConfigurationError);
    await expect(work).rejects.toThrow("'at-once', 'with-first-statement'");
  });

  if (!isPostgres) return;

  /** What goes over the wire while `work` runs: `INSERT`, or `BEGIN+INSERT` in one round trip. */
  const sent = async (work: () => Promise<unknown>): Promise<string[]> => {
    const query = vi.spyOn(pg.Client.prototype, 'query');
    await work();
    const texts = query.mock.calls.map(([text]) => String(text));
    query.mockRestore();
    return texts.map((text) =>
      text
        .split('; ')
        .map((one) => one.split(' ')[0])
        .join('+'),
    );
  };

  it('costs no round trip for its beginning', async () => {
    const two = async (tx: SqlTransaction) => {
      await tx.execute(INSERT, ["it's"]);
      await tx.query('SELECT name FROM entry WHERE name = $1', ["it's"]);
      tx.lastly?.('DELETE FROM entry');
    };
    expect(await sent(() => transaction(two, 'read committed'))).toEqual(['BEGIN+INSERT', 'SELECT', 'DELETE+COMMIT']);
    expect(await sent(() => sql.transaction(two))).toEqual(['BEGIN', 'INSERT', 'SELECT', 'DELETE+COMMIT']);
    const atTheSameTime = (tx: SqlTransaction) => Promise.all([tx.query('SELECT 1'), tx.query('SELECT 2')]);
    expect(await sent(() => transaction(atTheSameTime))).toEqual(['BEGIN+SELECT', 'SELECT', 'COMMIT']);
    expect(await sent(() => transaction(async (tx) => tx.savepoint?.(async () => undefined)))).toEqual([
      'BEGIN+SAVEPOINT',
      'RELEASE',
      'COMMIT',
    ]);
    expect(await sent(() => transaction(async (tx) => tx.lastly?.(INSERT, ['a'])))).toEqual(['BEGIN+INSERT+COMMIT']);
  });

  it('sends nothing when there is nothing to say', async () => {
    expect(await sent(() => transaction(async () => 1))).toEqual([]);
    const failing = () => transaction(async () => Promise.reject(new Error('no'))).catch(() => undefined);
    expect(await sent(failing)).toEqual([]);
  });

  it('begins on its own before a statement that cannot be written into another one', async () => {
    const count = ['BEGIN', 'INSERT', 'COMMIT'];
    const quoted = "INSERT INTO entry (name) VALUES ('$1' || $1)";
    expect(await sent(() => transaction((tx) => tx.execute(quoted, ['a'])))).toEqual(count);
    const long = 'INSERT INTO entry (name) SELECT length($1)::text';
    expect(await sent(() => transaction((tx) => tx.execute(long, ['x'.repeat(200_000)])))).toEqual(count);
    expect(await names()).toEqual(['$1a', '200000']);
  });

  it('means the same by a parameter that stands in two places', async () => {
    const text = 'SELECT $1::int AS number, $1::text AS text';
    expect(await transaction((tx) => tx.query(text, ['007']))).toEqual(await sql.query(text, ['007']));
  });

  it.each([
    ['is refused', 'SELECT 1 / $1::int', 0, '22012'],
    ['cannot be read', BROKEN, 'x', '42601'],
  ])('whose first statement %s commits nothing that comes after it', async (_, text, value, code) => {
    const work = transaction(async (tx) => {
      const first = tx.execute(text, [value]);
      // Sent already when the first one is answered.
      const second = tx.execute(INSERT, ['second']);
      await expect(first).rejects.toMatchObject({ code });
      await expect(second).rejects.toBeInstanceOf(TransactionAbortedError);
      await expect(tx.execute(INSERT, ['third'])).rejects.toMatchObject({ cause: { code } });
    });
    await expect(work).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED', cause: { code } });
    expect(await names()).toEqual([]);
    expect(await transaction((tx) => tx.execute(INSERT, ['next']))).toBe(1);
  });

  it('goes on where only the reader of the rows failed, without a second run of the statement', async () => {
    await sql.execute('CREATE SEQUENCE runs');
    const unreadable = new Error('not a number of mine');
    const parser = vi.spyOn(pg.types, 'getTypeParser').mockImplementation(() => () => {
      throw unreadable;
    });
    await transaction(async (tx) => {
      await expect(tx.query('SELECT nextval($1::regclass) AS n', ['runs'])).rejects.toBe(unreadable);
      parser.mockRestore();
      await tx.execute(INSERT, ['after']);
    });
    expect(await names()).toEqual(['after']);
    expect(await sql.query('SELECT last_value::int AS n FROM runs')).toEqual([{ n: 1 }]);
  });

  it('waits for the locks of others with its first statement as long as with any', async () => {
    const patient = await startSql({ url: database.url, commandTimeout: '300ms', maxConnections: 1 });
    const blocker = new pg.Client(database.url);
    await blocker.connect();
    await blocker.query('BEGIN; LOCK TABLE entry IN ACCESS EXCLUSIVE MODE');
    await patient.sql.query('SELECT 1');
    const work = patient.sql.transaction((tx) => tx.execute(INSERT, ['patient']), { begin: 'with-first-statement' });
    const waits = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'BEGIN;%'
      AND clock_timestamp() - query_start > interval '600 milliseconds'`;
    await eventually(async () => expect(await sql.query(waits)).toHaveLength(1));
    await blocker.query('COMMIT');
    await blocker.end();
    expect(await work).toBe(1);
    expect(await names()).toEqual(['patient']);
    await patient.app.close();
  });

  it('finds out within the time of a command that a connection has died while nobody used it', async () => {
    await using proxy = await startFaultProxy({ target: database.url });
    const remote = await startSql({ url: proxy.urlFor(database.url), commandTimeout: '300ms', maxConnections: 1 });
    await remote.sql.query('SELECT 1');
    const usedAt = performance.now();
    proxy.blackhole();
    await eventually(() => expect(performance.now() - usedAt).toBeGreaterThan(1_100));
    const startedAt = performance.now();
    const work = remote.sql.transaction((tx) => tx.execute(INSERT, ['a']), { begin: 'with-first-statement' });
    await expect(work).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied' });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    await remote.app.close();
  });

  it('is not open on the server before its first statement', async () => {
    const open = `SELECT 1 FROM pg_stat_activity
      WHERE state LIKE 'idle in transaction%' AND datname = current_database()`;
    // Both connections have been used a moment ago.
    await Promise.all([sql.query('SELECT 1'), sql.query('SELECT 1')]);
    await transaction(async (tx) => {
      expect(await sql.query(open)).toEqual([]);
      await tx.execute(INSERT, ['a']);
      expect(await sql.query(open)).toHaveLength(1);
    });
  });
});
