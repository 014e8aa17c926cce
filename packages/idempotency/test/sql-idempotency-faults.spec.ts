import 'reflect-metadata';
import { ConfigurationError, isLockstepError, StoreUnavailableError } from '@lockstep/core';
import { IdempotencyModule } from '@lockstep/idempotency';
import { type SqlIdempotencyOptions, sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import { eventually, type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Test } from '@nestjs/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { LONG_MS, request } from './support/begin-request.js';
import { SECRET } from './support/http-app.js';
import { SQL_SERVERS } from './support/sql-servers.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';

const done = { to: 'completed', response: '"done"', retentionMs: LONG_MS } as const;
const unavailable = (outcome: 'not-applied' | 'unknown') => ({
  code: 'STORE_UNAVAILABLE',
  kind: 'unavailable',
  outcome,
});

describe.each(SQL_SERVERS)('records behind a bad network, on $name', (server) => {
  const database = server.use();
  let direct: OpenSqlStore;
  let proxy: FaultProxy;
  let opened: OpenSqlStore;
  beforeAll(async () => {
    direct = await openSqlStore(database.url);
  });
  afterAll(() => direct.close());
  beforeEach(async () => {
    proxy = await startFaultProxy({ target: database.url });
    opened = await openSqlStore(proxy.urlFor(database.url), { commandTimeout: '1s' });
    await opened.store.begin(request());
  });
  afterEach(async () => {
    await opened.close();
    await proxy.stop();
  });

  const stateOf = async (id: string) => {
    const text = 'SELECT state FROM lockstep_idempotency WHERE id = $1';
    return (await direct.sql.query<{ state: string }>(text, [id]))[0]?.state;
  };

  it('whose answer is lost may have been written, and the owner that asks again is told', async () => {
    const claim = request();
    proxy.dropAfter(0, 'toClient');
    await expect(opened.store.begin(claim)).rejects.toMatchObject(unavailable('unknown'));
    await proxy.heal();
    expect(await opened.store.begin(claim)).toMatchObject({ outcome: 'acquired', recovered: false });
    proxy.dropAfter(0, 'toClient');
    await expect(opened.store.settle(claim, done)).rejects.toMatchObject(unavailable('unknown'));
    await proxy.heal();
    expect(await opened.store.settle(claim, done)).toBe(true);
  });

  it('that cannot be reached were not written, and nobody is told that another has them', async () => {
    const claim = request();
    proxy.refuse();
    proxy.cut();
    await eventually(() => expect(opened.incidents).toContain('SQL_CONNECTION_LOST'));
    await expect(opened.store.begin(claim)).rejects.toMatchObject(unavailable('not-applied'));
    await expect(opened.store.begin(claim)).rejects.toBeInstanceOf(StoreUnavailableError);
    await proxy.heal();
    expect(await stateOf(claim.id)).toBeUndefined();
    expect(await opened.store.begin(claim)).toMatchObject({ outcome: 'acquired' });
  });

  it('are not claimed by a begin that arrives after its caller has given up', async () => {
    const [late, timely] = [request({ applyWithinMs: 300 }), request({ applyWithinMs: 30_000 })];
    // Connections that are open, on which the statement is prepared where that is done.
    await Promise.all([1, 2, 3].map(() => opened.store.begin(request())));
    proxy.delay(1_500, 'toServer');
    const answers = [late, timely].map((each) => opened.store.begin(each));
    for (const answer of answers) await expect(answer).rejects.toMatchObject(unavailable('unknown'));
    // Both were sent at the same time, so that one has arrived when the other has.
    await eventually(async () => expect(await stateOf(timely.id)).toBe('P'));
    expect(await stateOf(late.id)).toBeUndefined();
  });

  it('of others are handed out while one row is held by a transaction of somebody else', async () => {
    const [held, free] = [request(), request()];
    await opened.store.begin(held);
    await direct.sql.transaction(async (tx) => {
      await tx.query('SELECT 1 FROM lockstep_idempotency WHERE id = $1 FOR UPDATE', [held.id]);
      await expect(opened.store.settle(held, done)).rejects.toBeInstanceOf(StoreUnavailableError);
      expect(await opened.store.begin({ ...held, owner: 'other' })).toMatchObject({ outcome: 'busy' });
      expect(await opened.store.begin(free)).toMatchObject({ outcome: 'acquired' });
    });
    expect(await opened.store.settle(held, done)).toBe(true);
  });
});

describe('records in Postgres', () => {
  const postgres = usePostgres();
  let direct: OpenSqlStore;
  let proxy: FaultProxy;
  let opened: OpenSqlStore;
  beforeAll(async () => {
    direct = await openSqlStore(postgres.url);
    proxy = await startFaultProxy({ target: postgres.url });
    opened = await openSqlStore(proxy.urlFor(postgres.url), { commandTimeout: '1s' });
    await opened.store.begin(request());
  });
  afterAll(async () => {
    await opened.close();
    await proxy.stop();
    await direct.close();
  });

  it('in a table that somebody has locked are given up while it is known that nothing was written', async () => {
    const [claim, fresh] = [request(), request()];
    await opened.store.begin(claim);
    await direct.sql.transaction(async (tx) => {
      await tx.execute('LOCK TABLE lockstep_idempotency IN ACCESS EXCLUSIVE MODE');
      const answers = await Promise.allSettled([opened.store.begin(fresh), opened.store.settle(claim, done)]);
      for (const answer of answers) expect(answer).toMatchObject({ reason: unavailable('not-applied') });
      // Nobody stands in line who would take effect later, or keep a place of the server for the time of the lock.
      const waits = await tx.query(`SELECT 1 FROM pg_locks WHERE NOT granted
        AND relation = 'lockstep_idempotency'::regclass`);
      expect(waits).toEqual([]);
    });
    expect(await opened.store.begin(fresh)).toMatchObject({ outcome: 'acquired', recovered: false });
    expect(await opened.store.settle(claim, done)).toBe(true);
  });

  it('are watched again after the connection was lost, and who waited is told', async () => {
    const { store } = opened;
    if (!('watch' in store)) throw new Error('Postgres pushes');
    const watching = store as typeof store & { watch(id: string, heard: () => void): Promise<() => Promise<void>> };
    const claim = request();
    await store.begin(claim);
    const heard = vi.fn();
    await watching.watch(claim.id, heard);
    proxy.cut();
    await eventually(() => expect(heard).toHaveBeenCalledTimes(1));
    await store.begin({ ...claim, owner: 'other', isWaiting: true });
    await store.settle(claim, done);
    await eventually(() => expect(heard).toHaveBeenCalledTimes(2));
  });
});

describe.each(SQL_SERVERS)('a database that is killed and restarted, on $name', ({ start }) => {
  let server: Awaited<ReturnType<typeof start>>;
  let opened: OpenSqlStore;
  beforeAll(async () => {
    server = await start();
    opened = await openSqlStore(await server.createDatabase('records'), { commandTimeout: '1s' });
  }, 60_000);
  afterAll(async () => {
    await opened.close();
    await server.stop();
  });

  it('replays every answer that it had taken, and claims nothing twice', async () => {
    const told = { stop: false };
    const completed: string[] = [];
    const failures: unknown[] = [];
    const attempt = async (id: string): Promise<void> => {
      const claim = request({ id });
      try {
        expect(await opened.store.begin(claim)).toMatchObject({ outcome: 'acquired' });
        if (await opened.store.settle(claim, { ...done, response: id })) completed.push(id);
      } catch (error) {
        failures.push(error);
        throw error;
      }
    };
    const caller = async (name: number): Promise<void> => {
      let serial = 0;
      const next = (): Promise<void> => {
        serial += 1;
        return attempt(`${name}-${serial}`);
      };
      while (!told.stop) await eventually(next, { timeoutMs: 15_000 });
    };
    const callers = [1, 2, 3, 4].map(caller);
    await eventually(() => expect(completed.length).toBeGreaterThan(50));
    await server.kill();
    await eventually(() => expect(failures.length).toBeGreaterThan(4));
    await server.restart();
    const before = completed.length;
    await eventually(() => expect(completed.length).toBeGreaterThan(before + 50), { timeoutMs: 15_000 });
    told.stop = true;
    await Promise.all(callers);
    for (const failure of failures) expect(failure).toBeInstanceOf(StoreUnavailableError);
    expect(new Set(failures.map((each) => isLockstepError(each) && each.fields.outcome))).toContain('not-applied');
    for (const id of completed) {
      const again = await opened.store.begin(request({ id, owner: 'again' }));
      expect(again).toEqual({ outcome: 'completed', response: id });
    }
  }, 60_000);
});

describe.each(SQL_SERVERS)('a database that is down when the application starts, on $name', ({ start }) => {
  it('lets it start, answers that it is unavailable, and gets its tables at first use', async () => {
    const server = await start();
    const url = await server.createDatabase('records');
    await server.kill();
    const opened = await openSqlStore(url);
    await expect(opened.store.begin(request())).rejects.toMatchObject(unavailable('not-applied'));
    await server.restart();
    try {
      await eventually(async () =>
        expect(await opened.store.begin(request())).toMatchObject({ outcome: 'acquired', recovered: false }),
      );
    } finally {
      await opened.close();
      await server.stop();
    }
  }, 60_000);
});

describe('an application', () => {
  const boot = (store: SqlIdempotencyOptions) =>
    Test.createTestingModule({
      imports: [IdempotencyModule.forRoot({ scope: 'global', secret: SECRET, store: sqlIdempotencyStore(store) })],
    }).compile();

  it('does not start with sqlIdempotencyStore() and without SqlModule', async () => {
    await expect(boot({})).rejects.toThrow('sqlIdempotencyStore() needs SqlModule.forRoot(…) among the imports.');
    await expect(boot({})).rejects.toBeInstanceOf(ConfigurationError);
  });

  it('does not start with a pause between purges that is none', async () => {
    expect(() => sqlIdempotencyStore({ purgeEvery: 0 })).toThrow('purgeEvery');
  });
});
