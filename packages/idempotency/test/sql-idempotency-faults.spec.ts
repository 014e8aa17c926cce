import 'reflect-metadata';
import { ConfigurationError, isLockstepError, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import { IdempotencyModule } from '@lockstep/idempotency';
import { type SqlIdempotencyOptions, sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import {
  eventually,
  type FaultProxy,
  freePort,
  type PostgresServer,
  startFaultProxy,
  startPostgres,
} from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Test } from '@nestjs/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { LONG_MS, request } from './support/begin-request.js';
import { SECRET } from './support/http-app.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';

const done = { to: 'completed', response: '"done"', retentionMs: LONG_MS } as const;
const unavailable = (outcome: 'not-applied' | 'unknown') => ({
  code: 'STORE_UNAVAILABLE',
  kind: 'unavailable',
  outcome,
});

describe('records behind a bad network', () => {
  const postgres = usePostgres();
  let direct: pg.Client;
  let proxy: FaultProxy;
  let opened: OpenSqlStore;
  beforeAll(async () => {
    direct = new pg.Client(postgres.url);
    await direct.connect();
  });
  afterAll(() => direct.end());
  beforeEach(async () => {
    proxy = await startFaultProxy({ target: postgres.url });
    opened = await openSqlStore(proxy.urlFor(postgres.url), { commandTimeout: '1s' });
    await opened.store.begin(request());
  });
  afterEach(async () => {
    await opened.close();
    await proxy.stop();
  });

  const stateOf = async (id: string) =>
    (await direct.query('SELECT state FROM lockstep_idempotency WHERE id = $1', [id])).rows[0]?.state;
  const waiting = async () => {
    const { rowCount } = await direct.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return rowCount;
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
    proxy.delay(1_500, 'toServer');
    const answers = [late, timely].map((each) => opened.store.begin(each));
    for (const answer of answers) await expect(answer).rejects.toMatchObject(unavailable('unknown'));
    // Both were sent at the same time, so that one has arrived when the other has.
    await eventually(async () => expect(await stateOf(timely.id)).toBe('P'));
    await eventually(async () => expect(await waiting()).toBe(0));
    expect(await stateOf(late.id)).toBeUndefined();
  });

  it('in a table that somebody has locked are given up while it is known that nothing was written', async () => {
    const [claim, fresh] = [request(), request()];
    await opened.store.begin(claim);
    await direct.query('BEGIN; LOCK TABLE lockstep_idempotency IN ACCESS EXCLUSIVE MODE');
    const startedAt = monotonicMs();
    const answers = await Promise.allSettled([opened.store.begin(fresh), opened.store.settle(claim, done)]);
    expect(monotonicMs() - startedAt).toBeLessThan(1_000);
    for (const answer of answers) expect(answer).toMatchObject({ reason: unavailable('not-applied') });
    // Nobody stands in line who would take effect later, or keep a place of the server for the time of the lock.
    const { rows } = await direct.query(`SELECT count(*)::int AS waits FROM pg_locks WHERE NOT granted
      AND relation = 'lockstep_idempotency'::regclass`);
    expect(rows).toEqual([{ waits: 0 }]);
    await direct.query('COMMIT');
    expect(await opened.store.begin(fresh)).toMatchObject({ outcome: 'acquired', recovered: false });
    expect(await opened.store.settle(claim, done)).toBe(true);
  });

  it('of others are handed out while one row is held by a transaction of somebody else', async () => {
    const [held, free] = [request(), request()];
    await opened.store.begin(held);
    await direct.query('BEGIN');
    await direct.query('SELECT FROM lockstep_idempotency WHERE id = $1 FOR UPDATE', [held.id]);
    await expect(opened.store.settle(held, done)).rejects.toMatchObject(unavailable('not-applied'));
    expect(await opened.store.begin({ ...held, owner: 'other' })).toMatchObject({ outcome: 'busy' });
    expect(await opened.store.begin(free)).toMatchObject({ outcome: 'acquired' });
    await direct.query('COMMIT');
    expect(await opened.store.settle(held, done)).toBe(true);
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

describe('a database that is killed and restarted', () => {
  let server: PostgresServer;
  let opened: OpenSqlStore;
  beforeAll(async () => {
    server = await startPostgres();
    opened = await openSqlStore(server.url, { commandTimeout: '1s' });
  }, 60_000);
  afterAll(async () => {
    await opened.close();
    await server.stop();
  });

  it('replays every answer that it had taken, and claims nothing twice', async () => {
    const told = { stop: false };
    const completed: string[] = [];
    const failures: unknown[] = [];
    const caller = async (name: number): Promise<void> => {
      for (let serial = 0; !told.stop; serial += 1) {
        const claim = request({ id: `${name}-${serial}` });
        try {
          expect(await opened.store.begin(claim)).toMatchObject({ outcome: 'acquired' });
          if (await opened.store.settle(claim, { ...done, response: claim.id })) completed.push(claim.id);
        } catch (error) {
          failures.push(error);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
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

describe('a database that is down when the application starts', () => {
  it('lets it start, answers that it is unavailable, and gets its tables at first use', async () => {
    const port = await freePort();
    const opened = await openSqlStore(`postgres://postgres@127.0.0.1:${port}/postgres`);
    await expect(opened.store.begin(request())).rejects.toMatchObject(unavailable('not-applied'));
    const server = await startPostgres({ port });
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
