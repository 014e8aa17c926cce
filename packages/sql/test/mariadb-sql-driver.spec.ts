import 'reflect-metadata';
import { ConfigurationError, Incidents } from '@lockstep/core';
import { type BeginOptions, Sql, SqlModule } from '@lockstep/sql';
import { describeSqlDriverContract } from '@lockstep/sql/contract';
import { type MariaDbPool, MariaDbSqlDriver, mariadbDriver, mariadbTransaction } from '@lockstep/sql/mariadb';
import { eventually, freePort } from '@lockstep/testing';
import { useMariaDb } from '@lockstep/testing/vitest';
import { Test } from '@nestjs/testing';
import callbackMysql from 'mysql2';
import mysql from 'mysql2/promise';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startSql } from './support/sql-application.js';

const mariadb = useMariaDb();
const TIMEOUT_MS = 5_000;
const BEGIN: BeginOptions = {
  isolation: undefined,
  commandTimeoutMs: TIMEOUT_MS,
  statementTimeoutMs: TIMEOUT_MS,
  commitTimeoutMs: TIMEOUT_MS,
};

const driverOn = (pool: MariaDbPool, owned: boolean) =>
  new MariaDbSqlDriver(pool, { owned, incidents: new Incidents() });
const open = (url: string, options: mysql.PoolOptions = {}) =>
  driverOn(mysql.createPool({ ...options, uri: url }), true);

describeSqlDriverContract({
  name: 'mariadb',
  open: async () => open(mariadb.url),
  openUnreachable: async () => open(`mysql://root@127.0.0.1:${await freePort()}/none`),
  slowStatement: 'SELECT SLEEP(1)',
  capabilities: { abortsOnFailedStatement: false },
});

describe('a transaction on MariaDB', () => {
  let driver: MariaDbSqlDriver;
  beforeAll(async () => {
    driver = open(mariadb.url);
    await driver.execute('CREATE TABLE entry (name varchar(50) PRIMARY KEY, number int NOT NULL DEFAULT 0)', [], 5_000);
    await driver.execute('CREATE PROCEDURE ends_it() COMMIT', [], 5_000);
  });
  afterAll(() => driver.close());
  beforeEach(async () => {
    await driver.execute('DELETE FROM entry', [], TIMEOUT_MS);
  });

  const begin = (options: Partial<BeginOptions> = {}) => driver.begin({ ...BEGIN, ...options });
  const names = async () => {
    const rows = await driver.query<{ name: string }>('SELECT name FROM entry ORDER BY name', [], TIMEOUT_MS);
    return rows.map(({ name }) => name);
  };
  const put = 'INSERT INTO entry (name) VALUES ($1)';

  it('is begun at read committed unless it asks for something else, which holds for it alone', async () => {
    const level = 'SELECT @@tx_isolation AS level, (SELECT COUNT(*) FROM entry) AS entries';
    const [plain, strict] = [await begin(), await begin({ isolation: 'serializable' })];
    // Whoever reads at read committed sees what is committed meanwhile.
    expect(await plain.query(level, [])).toEqual([{ level: 'READ-COMMITTED', entries: '0' }]);
    await driver.execute(put, ['a'], TIMEOUT_MS);
    expect(await plain.query(level, [])).toEqual([{ level: 'READ-COMMITTED', entries: '1' }]);
    await strict.query('SELECT name FROM entry WHERE name = $1', ['a']);
    // Whoever reads at serializable locks what it reads.
    const blocked = driver.execute(`SET STATEMENT innodb_lock_wait_timeout = 0 FOR DELETE FROM entry`, [], TIMEOUT_MS);
    await expect(blocked).rejects.toMatchObject({ code: 'ER_LOCK_WAIT_TIMEOUT' });
    await Promise.all([plain.rollback(), strict.rollback()]);
    await driver.execute('DELETE FROM entry', [], TIMEOUT_MS);
  });

  it('has two inserts beside a row that is not there: neither locks the gap', async () => {
    const [one, two] = [await begin(), await begin()];
    for (const [session, name] of [
      [one, 'a'],
      [two, 'b'],
    ] as const) {
      expect(await session.query('SELECT name FROM entry WHERE name = $1 FOR UPDATE', [name])).toEqual([]);
    }
    await Promise.all([one.execute(put, ['a']), two.execute(put, ['b'])]);
    await Promise.all([one.commit(), two.commit()]);
    expect(await names()).toEqual(['a', 'b']);
  });

  it('lives on after a statement that failed alone', async () => {
    const session = await begin();
    await session.execute(put, ['a']);
    await expect(session.execute(put, ['a'])).rejects.toMatchObject({ code: 'ER_DUP_ENTRY', sqlState: '23000' });
    await session.execute(put, ['b']);
    expect(await session.commit()).toBe('committed');
    expect(await names()).toEqual(['a', 'b']);
  });

  it('that lost a deadlock is over: nothing of it, and nothing after it, is ever committed', async () => {
    await driver.execute("INSERT INTO entry (name) VALUES ('a'), ('b')", [], TIMEOUT_MS);
    const [one, two] = [await begin(), await begin()];
    const bump = 'UPDATE entry SET number = number + 1 WHERE name = $1';
    await one.execute(bump, ['a']);
    await two.execute(bump, ['b']);
    const crossed = await Promise.allSettled([one.execute(bump, ['b']), two.execute(bump, ['a'])]);
    const loserIndex = crossed.findIndex(({ status }) => status === 'rejected');
    const [loser, winner] = loserIndex === 0 ? [one, two] : [two, one];
    expect(crossed[loserIndex]).toMatchObject({ reason: { code: 'ER_LOCK_DEADLOCK' } });
    // The server would commit this one at once.
    await expect(loser.execute(put, ['c'])).rejects.toMatchObject({
      code: 'TRANSACTION_ABORTED',
      cause: { code: 'ER_LOCK_DEADLOCK' },
    });
    await expect(loser.execute('ROLLBACK TO SAVEPOINT s', [])).rejects.toMatchObject({ code: 'ER_LOCK_DEADLOCK' });
    expect(await loser.commit()).toBe('rolled-back');
    expect(await winner.commit()).toBe('committed');
    expect(await driver.query('SELECT name, number FROM entry ORDER BY name', [], TIMEOUT_MS)).toEqual([
      { name: 'a', number: 1 },
      { name: 'b', number: 1 },
    ]);
  });

  it('that lost a deadlock takes no statement that was sent before its answer came', async () => {
    await driver.execute("INSERT INTO entry (name) VALUES ('a'), ('b')", [], TIMEOUT_MS);
    const [one, two] = [await begin(), await begin()];
    const bump = 'UPDATE entry SET number = number + 1 WHERE name = $1';
    await one.execute(bump, ['a']);
    await two.execute(bump, ['b']);
    const both = [
      [one, 'b', 'after one'],
      [two, 'a', 'after two'],
    ] as const;
    const sent = both.map(([session, name, late]) =>
      Promise.allSettled([session.execute(bump, [name]), session.execute(put, [late])]),
    );
    const results = await Promise.all(sent);
    const lost = results.filter(([first]) => first.status === 'rejected');
    expect(lost).toHaveLength(1);
    expect(lost[0]?.[1]).toMatchObject({ status: 'rejected', reason: { code: 'TRANSACTION_ABORTED' } });
    await Promise.all([one.rollback(), two.rollback()]);
    expect(await names()).toEqual(['a', 'b']);
  });

  it.each([
    'CREATE TABLE other (id int)',
    ' /* now */ alter table entry ADD COLUMN x int',
    '-- note\nTRUNCATE entry',
    'DROP TABLE IF EXISTS other',
    'RENAME TABLE entry TO other',
    'LOCK TABLES entry WRITE',
    'SET autocommit = 1',
    'SET @x = 1, @@session.autocommit = 1',
    'START TRANSACTION',
    "XA START 'x'",
    'ROLLBACK',
    'COMMIT',
    "GRANT SELECT ON *.* TO 'x'",
  ])('refuses %j, before which MariaDB commits, or which ends it', async (statement) => {
    const session = await begin();
    await session.execute(put, ['a']);
    await expect(session.execute(statement, [])).rejects.toMatchObject({ code: 'TRANSACTION_MISUSE' });
    await session.rollback();
    expect(await names()).toEqual([]);
  });

  it('takes what commits nothing: temporary tables, savepoints, and columns that are called like a command', async () => {
    const session = await begin();
    await session.execute('CREATE TEMPORARY TABLE mine (id int)', []);
    await session.execute('SAVEPOINT one', []);
    await session.execute('ROLLBACK TO SAVEPOINT one', []);
    await session.query('SELECT name AS `commit` FROM entry', []);
    await session.execute('DROP TEMPORARY TABLE mine', []);
    expect(await session.commit()).toBe('committed');
  });

  it('that was committed by a procedure says so, and takes nothing more', async () => {
    const session = await begin();
    await session.execute(put, ['a']);
    await expect(session.execute('CALL ends_it()', [])).rejects.toMatchObject({ code: 'TRANSACTION_MISUSE' });
    await expect(session.execute(put, ['b'])).rejects.toMatchObject({ code: 'TRANSACTION_MISUSE' });
    await expect(session.commit()).rejects.toMatchObject({ code: 'TRANSACTION_MISUSE' });
    expect(await names()).toEqual(['a']);
  });
});

describe('values on MariaDB', () => {
  let driver: MariaDbSqlDriver;
  beforeAll(async () => {
    driver = open(mariadb.url);
    await driver.execute(
      `CREATE TABLE sample (id int PRIMARY KEY, big bigint, at datetime(6), day date, amount decimal(30,10), bytes varbinary(20),
        text varchar(20) CHARACTER SET utf8mb4)`,
      [],
      TIMEOUT_MS,
    );
  });
  afterAll(() => driver.close());

  it('come back alike with and without parameters: 64 bits, decimals and dates as text, and lose nothing', async () => {
    const params = [9_007_199_254_740_993n, new Date('2026-03-29T02:30:00.123Z'), '2026-03-29', '0.1234567891'];
    await driver.execute(
      'INSERT INTO sample (id, big, at, day, amount, bytes, text) VALUES (1, $1, $2, $3, $4, $5, $6)',
      [...params, Buffer.from([0, 255]), 'ü 🔒'],
      TIMEOUT_MS,
    );
    const expected = [
      {
        id: 1,
        big: '9007199254740993',
        at: '2026-03-29 02:30:00.123000',
        day: '2026-03-29',
        amount: '0.1234567891',
        bytes: Buffer.from([0, 255]),
        text: 'ü 🔒',
      },
    ];
    expect(await driver.query('SELECT * FROM sample WHERE id = 1', [], TIMEOUT_MS)).toEqual(expected);
    expect(await driver.query('SELECT * FROM sample WHERE id = $1', [1], TIMEOUT_MS)).toEqual(expected);
    expect(await driver.query('SELECT COUNT(*) AS n, $1 AS t, $2 AS u FROM sample', [true, undefined], 5_000)).toEqual([
      { n: '1', t: 1, u: null },
    ]);
  });

  it('are parameters, whatever they hold', async () => {
    const evil = `x' OR 1 = 1 -- \\' " \` $1 ?`;
    expect(await driver.query('SELECT $1 AS echo', [evil], TIMEOUT_MS)).toEqual([{ echo: evil }]);
    expect(await driver.query(`SELECT id FROM sample WHERE text = $1`, [evil], TIMEOUT_MS)).toEqual([]);
  });

  it('go where their number says, and nowhere inside of text, names and comments', async () => {
    const text = `SELECT $2 AS b, $1 AS a, '$1 \\' $2 ''?' AS text, "$1" AS \`$2\`, $2 AS \`again\` -- $3
      # $4 'x
      /* $5 " */ FROM DUAL WHERE $1 = $1 LIMIT $3`;
    expect(await driver.query(text, ['a', 'b', 1], TIMEOUT_MS)).toEqual([
      { b: 'b', a: 'a', text: "$1 ' $2 '?", $2: '$1', again: 'b' },
    ]);
    await expect(driver.query('SELECT $2 AS x', ['one'], TIMEOUT_MS)).rejects.toThrow(
      '$2 has no parameter; 1 were given',
    );
  });

  it('count as touched when a row matched, though nothing about it changed', async () => {
    const touched = 'UPDATE sample SET id = id';
    expect(await driver.execute(touched, [], TIMEOUT_MS)).toBe(1);
    expect(await driver.execute(`${touched} WHERE id = $1`, [1], TIMEOUT_MS)).toBe(1);
    expect(await driver.execute('INSERT INTO sample (id) VALUES (7) RETURNING id', [], TIMEOUT_MS)).toBe(1);
  });

  it('that do not fit are refused, not cut', async () => {
    const insert = driver.execute('INSERT INTO sample (id, text) VALUES (2, $1)', ['x'.repeat(21)], TIMEOUT_MS);
    await expect(insert).rejects.toMatchObject({ code: 'ER_DATA_TOO_LONG' });
  });

  it('are one statement at a time', async () => {
    await expect(driver.query('SELECT 1; SELECT 2', [], TIMEOUT_MS)).rejects.toMatchObject({ code: 'ER_PARSE_ERROR' });
  });
});

describe('mariadbDriver({ url })', () => {
  it('has strict sessions at UTC that compare text by its bytes, whatever the server defaults to', async () => {
    const { app, sql } = await startSql({ url: mariadb.url });
    const [row] = await sql.query<Record<string, string>>(`SELECT @@sql_mode AS mode, @@time_zone AS zone,
      @@tx_isolation AS level, @@collation_connection AS collation, 'a' = 'A' AS folded`);
    expect(row).toMatchObject({ zone: '+00:00', level: 'READ-COMMITTED', collation: 'utf8mb4_bin', folded: 0 });
    expect(row?.mode).toContain('STRICT_ALL_TABLES');
    await app.close();
  });
});

describe('mariadbDriver()', () => {
  const failure = (options: Parameters<typeof mariadbDriver>[0]) =>
    Test.createTestingModule({ imports: [SqlModule.forRoot({ driver: mariadbDriver(options) })] })
      .compile()
      .then(String, (error: unknown) => error);

  it('refuses what is no MariaDB at boot, and never quotes a URL, which may hold a password', async () => {
    const error = await failure({ url: 'postgres://me:secret@host/db' });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(String(error)).toContain("'mariadb://'");
    expect(String(error)).not.toContain('secret');
    expect(String(await failure({ url: 'mariadb://host/db', maxConnections: 0 }))).toContain("'maxConnections' is 0");
  });

  it('takes its options from what the container holds', async () => {
    const driver = mariadbDriver({ inject: [Incidents], useFactory: () => ({ url: mariadb.url }) });
    const app = await Test.createTestingModule({ imports: [SqlModule.forRoot({ driver })] }).compile();
    expect(await app.get(Sql).query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await app.close();
  });
});

describe('mariadbTransaction()', () => {
  it('is a handle on a transaction of a connection with callbacks, whose owner ends it', async () => {
    const connection = callbackMysql.createConnection(mariadb.url);
    const owner = connection.promise();
    await owner.query('CREATE TABLE foreign_entry (name varchar(50) PRIMARY KEY)');
    await owner.beginTransaction();
    const tx = mariadbTransaction(connection);
    const insert = 'INSERT INTO foreign_entry VALUES ($1)';
    expect(await tx.execute(insert, ['a'])).toBe(1);
    await expect(tx.savepoint?.(() => tx.execute(insert, ['a']))).rejects.toMatchObject({ code: 'ER_DUP_ENTRY' });
    await expect(tx.execute('DROP TABLE foreign_entry')).rejects.toMatchObject({ code: 'TRANSACTION_MISUSE' });
    expect(await tx.query('SELECT name, COUNT(*) AS n FROM foreign_entry GROUP BY name')).toEqual([
      { name: 'a', n: '1' },
    ]);
    await owner.commit();
    // Committed by its owner: the first statement that comes too late is committed at once and says so, no other is sent.
    for (const late of ['first', 'second']) {
      await expect(tx.execute(insert, [late])).rejects.toMatchObject({ code: 'TRANSACTION_MISUSE' });
    }
    const [rows] = await owner.query('SELECT name FROM foreign_entry ORDER BY name');
    expect(rows).toEqual([{ name: 'a' }, { name: 'first' }]);
    await owner.end();
  });
});

describe('a pool of the application', () => {
  it('keeps its sessions as they are; only transactions are begun at read committed', async () => {
    const pool = mysql.createPool({ uri: mariadb.url, connectionLimit: 1 });
    const driver = driverOn(pool, false);
    // The variable keeps the session's level; what the transaction has shows in what it sees.
    const session = await driver.begin(BEGIN);
    const count = () => session.query<{ n: string }>('SELECT COUNT(*) AS n FROM seen', []);
    const other = open(mariadb.url);
    await other.execute('CREATE TABLE seen (id int)', [], TIMEOUT_MS);
    expect(await count()).toEqual([{ n: '0' }]);
    await other.execute('INSERT INTO seen VALUES (1)', [], TIMEOUT_MS);
    expect(await count()).toEqual([{ n: '1' }]);
    await session.commit();
    const [rows] = await pool.query("SELECT @@tx_isolation AS level, @@sql_mode LIKE '%STRICT_ALL%' AS changed");
    expect(rows).toEqual([{ level: 'REPEATABLE-READ', changed: 0 }]);
    await Promise.all([driver.close(), other.close()]);
    // It is not ours to end.
    await pool.query('SELECT 1');
    await pool.end();
  });

  it('may be one whose methods take callbacks, and may read its results in another way', async () => {
    const pool = callbackMysql.createPool({ uri: mariadb.url, rowsAsArray: true, namedPlaceholders: true });
    const { app, sql } = await startSql({ pool, url: mariadb.url });
    expect(await sql.query('SELECT $1 AS one, COUNT(*) AS n FROM DUAL', [1])).toEqual([{ one: 1, n: '1' }]);
    await app.close();
    await pool.promise().end();
  });

  it.each([
    ['a strict sql_mode', "SET SESSION sql_mode = ''", {}],
    ['NO_BACKSLASH_ESCAPES', "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES'", {}],
    ['autocommit', 'SET SESSION autocommit = 0', {}],
    ['FOUND_ROWS', 'SELECT 1', { flags: ['-FOUND_ROWS'] }],
  ])('is refused at the first connection where its sessions lack %s', async (what, statement, options) => {
    const pool = mysql.createPool({ uri: mariadb.url, connectionLimit: 1, ...options });
    await pool.query(statement);
    const refused = driverOn(pool, false).query('SELECT 1', [], TIMEOUT_MS);
    await expect(refused).rejects.toBeInstanceOf(ConfigurationError);
    await expect(refused).rejects.toThrow(what);
    await pool.end();
  });

  it('with every place taken gives back a connection that arrives late', async () => {
    const pool = mysql.createPool({ uri: mariadb.url, connectionLimit: 1 });
    const driver = driverOn(pool, false);
    const taken = await pool.getConnection();
    const refused = await Promise.allSettled([1, 2, 3].map(() => driver.query('SELECT 1', [], 100)));
    for (const each of refused) {
      expect(each).toMatchObject({ reason: { code: 'STORE_UNAVAILABLE', outcome: 'not-applied' } });
    }
    taken.release();
    // All of the late ones were given back, or nobody would ever have the only place again.
    await eventually(async () => expect(await driver.query('SELECT 1 AS one', [], 1_000)).toEqual([{ one: 1 }]));
    await driver.close();
    await pool.end();
  });

  it('loses no connection of its own to a failure while it idles: an incident, not a crash', async () => {
    const incidents = new Incidents();
    const codes: string[] = [];
    incidents.subscribe(({ code }) => codes.push(code));
    const driver = new MariaDbSqlDriver(mysql.createPool(mariadb.url), { owned: true, incidents });
    const [row] = await driver.query<{ id: string }>('SELECT CONNECTION_ID() AS id', [], TIMEOUT_MS);
    const other = open(mariadb.url);
    await other.execute(`KILL ${row?.id}`, [], TIMEOUT_MS);
    await eventually(() => expect(codes).toEqual(['SQL_CONNECTION_LOST']));
    expect(await driver.query('SELECT 1 AS one', [], TIMEOUT_MS)).toEqual([{ one: 1 }]);
    await Promise.all([driver.close(), other.close()]);
  });
});

describe('MariaDbSqlDriver', () => {
  it.each([
    ['10.5.23-MariaDB-1:10.5.23+maria~deb11', /10\.5.*10\.6/],
    ['8.4.3', /no MariaDB.*8\.4\.3/],
  ])('refuses the server %s at the first connection, and keeps no connection', async (version, reason) => {
    const ends: string[] = [];
    const client = {
      query: async () => [[{ version, mode: 'STRICT_ALL_TABLES', autocommit: 1 }], []],
      execute: async () => [[], []],
      release: () => ends.push('released'),
      destroy: () => ends.push('destroyed'),
      on: () => undefined,
      removeListener: () => undefined,
    };
    const driver = driverOn({ getConnection: async () => client, end: async () => undefined }, false);
    const refused = driver.query('SELECT 1', [], 1_000);
    await expect(refused).rejects.toBeInstanceOf(ConfigurationError);
    await expect(refused).rejects.toThrow(reason);
    expect(ends).toEqual(['destroyed']);
  });
});
