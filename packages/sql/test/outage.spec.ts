import 'reflect-metadata';
import { StoreUnavailableError } from '@lockstep/core';
import { CommitOutcomeUnknownError, Sql, SqlModule, Transactional, TransactionEndedError } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually, type FaultProxy, freePort, startFaultProxy } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Controller, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';
import { type DirectClient, TEST_SERVERS } from './support/test-servers.js';

const unavailable = (outcome: 'not-applied' | 'unknown') => ({
  code: 'STORE_UNAVAILABLE',
  kind: 'unavailable',
  outcome,
});

@Controller()
class OrdersController {
  @Post('orders')
  @Transactional()
  async place(): Promise<string> {
    return 'placed';
  }
}

describe.each(TEST_SERVERS)('a database behind a bad network, on $name:', (server) => {
  const database = server.use();
  let direct: DirectClient;
  let proxy: FaultProxy;
  let application: SqlApplication;
  let sql: Sql;

  beforeAll(async () => {
    direct = await server.connect(database.url);
    await direct.query('CREATE TABLE entry (name varchar(50) PRIMARY KEY)');
  });
  afterAll(() => direct.end());
  beforeEach(async () => {
    await direct.query('DELETE FROM entry');
    proxy = await startFaultProxy({ target: database.url });
    application = await startSql({
      url: proxy.urlFor(database.url),
      maxConnections: 2,
      // Long enough for a busy machine where an answer is expected.
      commandTimeout: '1s',
      statementTimeout: '1500ms',
      commitTimeout: '1s',
    });
    sql = application.sql;
  });
  afterEach(async () => {
    await proxy.stop();
    await application.app.close();
  });

  const names = async () => (await direct.query('SELECT name FROM entry ORDER BY name')).map((row) => row.name);

  it('a COMMIT whose answer is cut off has an unknown outcome, and its connection is never used again', async () => {
    const hooks: string[] = [];
    const backends: unknown[] = [];
    const work = sql.transaction(async (tx) => {
      backends.push(await tx.query(server.sessionId));
      await tx.execute("INSERT INTO entry VALUES ('a')");
      tx.afterCommit?.(() => hooks.push('after'));
      tx.beforeCommit?.(async () => proxy.dropAfter(0, 'toClient'));
    });
    await expect(work).rejects.toBeInstanceOf(CommitOutcomeUnknownError);
    await expect(work).rejects.toMatchObject({ code: 'COMMIT_OUTCOME_UNKNOWN', kind: 'unknown', retryable: false });
    expect(hooks).toEqual([]);
    // It did happen, in fact.
    await eventually(async () => expect(await names()).toEqual(['a']));
    await proxy.heal();
    const next = await sql.query(server.sessionId);
    expect(backends).not.toContainEqual(next);
  });

  it('a COMMIT that never arrives has an unknown outcome too, after the commit timeout', async () => {
    const work = sql.transaction(async (tx) => {
      await tx.execute("INSERT INTO entry VALUES ('a')");
      tx.beforeCommit?.(async () => proxy.blackhole());
    });
    await expect(work).rejects.toBeInstanceOf(CommitOutcomeUnknownError);
    proxy.cut();
    await eventually(async () => expect(await names()).toEqual([]));
  });

  it('a handle says that the outcome of its transaction is unknown', async () => {
    const kept = { tx: sql.current() };
    const work = sql.transaction(async (tx) => {
      kept.tx = tx;
      tx.beforeCommit?.(async () => proxy.dropAfter(0, 'toClient'));
    });
    await expect(work).rejects.toThrow(CommitOutcomeUnknownError);
    await expect(kept.tx?.query('SELECT 1')).rejects.toMatchObject({ fields: { state: 'unknown' } });
    await expect(kept.tx?.query('SELECT 1')).rejects.toBeInstanceOf(TransactionEndedError);
  });

  it('a connection that is lost before COMMIT means that nothing was applied, even if the loss was caught', async () => {
    const work = sql.transaction(async (tx) => {
      await tx.execute("INSERT INTO entry VALUES ('a')");
      proxy.cut();
      const error = await tx.query('SELECT 1').catch((reason: unknown) => reason);
      expect(error).toMatchObject({ ...unavailable('not-applied'), cause: expect.any(Error) });
      await expect(tx.query('SELECT 2')).rejects.toMatchObject(unavailable('not-applied'));
    });
    await expect(work).rejects.toBeInstanceOf(StoreUnavailableError);
    await expect(work).rejects.toMatchObject(unavailable('not-applied'));
    expect(await names()).toEqual([]);
  });

  it('a session that the server ends while nothing runs in it does not crash the process, and applies nothing', async () => {
    const work = sql.transaction(async (tx) => {
      const [row] = await tx.query<{ id: unknown }>(server.sessionId);
      await tx.execute("INSERT INTO entry VALUES ('a')");
      await direct.query(server.endSession(row?.id));
      await eventually(async () => {
        expect(await direct.query(server.findSession(row?.id))).toEqual([]);
      });
      await expect(tx.query('SELECT 1')).rejects.toMatchObject(unavailable('not-applied'));
    });
    await expect(work).rejects.toMatchObject(unavailable('not-applied'));
    expect(await names()).toEqual([]);
  });

  it('a statement of a transaction is given up after the statement timeout, and its connection with it', async () => {
    const backends: unknown[] = [];
    const work = sql.transaction(async (tx) => {
      backends.push(await tx.query(server.sessionId));
      await tx.query(server.sleep(5));
    });
    await expect(work).rejects.toMatchObject(unavailable('not-applied'));
    // At the same time, so that they are all the connections that the pool has.
    const sessions = await Promise.all([1, 2].map(() => sql.transaction((tx) => tx.query(server.sessionId))));
    expect(sessions).not.toContainEqual(backends[0]);
  });

  it('a statement outside a transaction is given up after the command timeout with an unknown outcome', async () => {
    await expect(sql.execute(server.sleep(5))).rejects.toMatchObject(unavailable('unknown'));
    expect(await sql.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('a connection that cannot be had in time was never used: nothing was applied', async () => {
    proxy.refuse();
    await expect(sql.query('SELECT 1')).rejects.toMatchObject(unavailable('not-applied'));
    await expect(sql.transaction(async () => 1)).rejects.toMatchObject(unavailable('not-applied'));
    await proxy.heal();
    expect(await sql.transaction(async () => 1)).toBe(1);
  });

  it('a host that swallows packets is given up in time and found again', async () => {
    proxy.blackhole();
    const startedAt = performance.now();
    await expect(sql.transaction(async () => 1)).rejects.toMatchObject(unavailable('not-applied'));
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    await proxy.heal();
    await eventually(async () => expect(await sql.query('SELECT 1 AS one')).toEqual([{ one: 1 }]));
  });

  it('an exhausted pool is answered in time, and the connection that comes late is given back', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const holders = [1, 2].map(() => sql.transaction(() => held));
    await eventually(() => expect(proxy.connections).toBe(2));
    const refused = await Promise.allSettled([1, 2, 3].map(() => sql.query('SELECT 1')));
    for (const each of refused) expect(each).toMatchObject({ reason: unavailable('not-applied') });
    release();
    await Promise.all(holders);
    // Twice as many as the pool holds: none of its places was lost.
    expect(await Promise.all([1, 2, 3, 4].map(() => sql.transaction(async () => 'ok')))).toHaveLength(4);
  });

  it('an idle connection that is lost is an incident, not a crash', async () => {
    await sql.query('SELECT 1');
    proxy.cut();
    await eventually(() => expect(application.incidents).toContain('SQL_CONNECTION_LOST'));
    expect(await sql.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('a ROLLBACK that gets no answer does not hide why the work failed', async () => {
    const reason = new Error('business');
    const work = sql.transaction(async (tx) => {
      await tx.execute("INSERT INTO entry VALUES ('a')");
      proxy.blackhole();
      throw reason;
    });
    await expect(work).rejects.toBe(reason);
    expect(application.incidents).toContain('SQL_ROLLBACK_FAILED');
  });

  it('a rollback does not wait for a statement that nobody awaits any more', async () => {
    const reason = new Error('business');
    const startedAt = performance.now();
    const work = sql.transaction(async (tx) => {
      tx.query(server.sleep(5)).catch(() => undefined);
      await tx.query(server.sleep(0)).catch(() => undefined);
      throw reason;
    });
    await expect(work).rejects.toBe(reason);
    expect(performance.now() - startedAt).toBeLessThan(4_500);
  });

  it('is 503 with Retry-After to a client while it cannot be reached', async () => {
    proxy.refuse();
    const address = { url: proxy.urlFor(database.url) };
    const driver = server.name === 'postgres' ? pgDriver(address) : mariadbDriver(address);
    const module = await Test.createTestingModule({
      imports: [SqlModule.forRoot({ driver })],
      controllers: [OrdersController],
    }).compile();
    const app = module.createNestApplication();
    app.useLogger(false);
    await app.listen(0, '127.0.0.1');
    const place = async () => fetch(`${await app.getUrl()}/orders`, { method: 'POST' });
    const refused = await place();
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await refused.json()).toMatchObject({ code: 'STORE_UNAVAILABLE', store: server.name, retryable: true });
    await proxy.heal();
    await eventually(async () => expect((await place()).status).toBe(201));
    await app.close();
  });

  it('every other error of the database passes by as it is', async () => {
    await expect(sql.query('SELECT nonsense')).rejects.toMatchObject(server.unknownColumn);
    await expect(sql.query('SELECT * FROM nowhere WHERE id = $1', ['x'])).rejects.toMatchObject(server.unknownTable);
  });
});

describe('a pool of the application', () => {
  const postgres = usePostgres();

  it('with every place taken gives back a connection that arrives late', async () => {
    const pool = new pg.Pool({ connectionString: postgres.url, max: 1 });
    const app = await Test.createTestingModule({
      imports: [SqlModule.forRoot({ driver: pgDriver({ pool }), commandTimeout: '100ms' })],
    }).compile();
    await app.init();
    const sql = app.get(Sql);
    const client = await pool.connect();
    await expect(sql.query('SELECT 1')).rejects.toMatchObject(unavailable('not-applied'));
    client.release();
    await eventually(() => expect(pool.idleCount).toBe(1));
    expect(await sql.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await app.close();
    // It is not ours to end.
    expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await pool.end();
  });
});

describe.each(TEST_SERVERS)('a database that is down, on $name,', (testServer) => {
  it('lets the application start, answers that it is unavailable, and is found as soon as it is up', async () => {
    const port = await freePort();
    const application = await startSql({ url: testServer.urlAt(port) });
    await expect(application.sql.query('SELECT 1')).rejects.toMatchObject(unavailable('not-applied'));
    await expect(application.sql.transaction(async () => 1)).rejects.toMatchObject({
      ...unavailable('not-applied'),
      retryAfterMs: 1_000,
    });
    const server = await testServer.start(port);
    try {
      await eventually(async () => expect(await application.sql.transaction(async () => 1)).toBe(1));
      await server.restart();
      await eventually(async () => expect(await application.sql.transaction(async () => 2)).toBe(2));
    } finally {
      await application.app.close();
      await server.stop();
    }
  }, 60_000);

  it('that is killed in a transaction has nothing of it, and everything that was committed, when it is back', async () => {
    const port = await freePort();
    const server = await testServer.start(port);
    const application = await startSql({ url: await server.createDatabase() });
    const { sql } = application;
    try {
      await sql.execute('CREATE TABLE entry (name varchar(50) PRIMARY KEY)');
      await sql.transaction((tx) => tx.execute("INSERT INTO entry VALUES ('before')"));
      const work = sql.transaction(async (tx) => {
        await tx.execute("INSERT INTO entry VALUES ('during')");
        await server.kill();
      });
      await expect(work).rejects.toSatisfy(
        (error: { code: string }) => error.code === 'STORE_UNAVAILABLE' || error.code === 'COMMIT_OUTCOME_UNKNOWN',
      );
      await server.restart();
      await eventually(async () => expect(await sql.query('SELECT name FROM entry')).toEqual([{ name: 'before' }]));
    } finally {
      await application.app.close();
      await server.stop();
    }
  }, 60_000);
});
