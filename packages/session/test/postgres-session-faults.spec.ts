import 'reflect-metadata';
import { ConfigurationError, CoreModule, checkedDriver, isLockstepError, StoreUnavailableError } from '@lockstep/core';
import { SESSION_STORE } from '@lockstep/session';
import { type PostgresSessionOptions, postgresSessionStore } from '@lockstep/session/postgres';
import { SqlModule } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { eventually, type FaultProxy, startFaultProxy, startPostgres } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Test } from '@nestjs/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type OpenPostgresStore, openPostgresStore } from './support/postgres-store.js';
import { anySave, userDraft, visitorDraft } from './support/session-drafts.js';

const NONE: ReadonlyMap<string, string> = new Map();
const LOOK = Number.POSITIVE_INFINITY;
const unavailable = (outcome: 'not-applied' | 'unknown') => ({
  code: 'STORE_UNAVAILABLE',
  kind: 'unavailable',
  outcome,
});

describe('sessions in Postgres behind a bad network', () => {
  const postgres = usePostgres();
  let direct: OpenPostgresStore;
  let proxy: FaultProxy;
  let opened: OpenPostgresStore;
  beforeAll(async () => {
    direct = await openPostgresStore(postgres.url);
  });
  afterAll(() => direct.close());
  beforeEach(async () => {
    proxy = await startFaultProxy({ target: postgres.url });
    opened = await openPostgresStore(proxy.urlFor(postgres.url), { commandTimeout: '1s' });
    await opened.store.list('none');
  });
  afterEach(async () => {
    await opened.close();
    await proxy.stop();
  });

  it('of a step whose answer is lost are as if it had been taken once when it is sent again', async () => {
    const [visitor, user] = [visitorDraft(), userDraft()];
    const { store } = opened;
    const add = { key: visitor.key, set: new Map([['a', '1']]), remove: [], save: anySave() };
    const login = { from: visitor.key, draft: user, manner: 'login' } as const;
    for (const step of [
      () => store.create({ draft: visitor, attributes: NONE }),
      () => store.save(add),
      () => store.replace(login),
    ]) {
      proxy.dropAfter(0, 'toClient');
      await expect(step()).rejects.toMatchObject(unavailable('unknown'));
      await proxy.heal();
      await step();
    }
    const record = await store.load({ key: user.key, touchAfterMs: LOOK });
    expect(record).toMatchObject({ key: user.key, version: 3 });
    expect(record?.attributes).toEqual(new Map([['a', { text: '1', revision: 2 }]]));
  });

  it('that cannot be reached are neither read nor said to be gone', async () => {
    const draft = visitorDraft();
    await opened.store.create({ draft, attributes: NONE });
    proxy.refuse();
    proxy.cut();
    await eventually(() => expect(opened.incidents).toContain('SQL_CONNECTION_LOST'));
    await expect(opened.store.load({ key: draft.key, touchAfterMs: LOOK })).rejects.toMatchObject(
      unavailable('not-applied'),
    );
    await expect(opened.store.remove({ group: draft.key.group })).rejects.toBeInstanceOf(StoreUnavailableError);
    await proxy.heal();
    expect(await opened.store.load({ key: draft.key, touchAfterMs: LOOK })).toBeDefined();
  });

  it('are served while one row is held by a transaction of somebody else, which is told apart from gone', async () => {
    const [held, free] = [visitorDraft(), visitorDraft()];
    for (const draft of [held, free]) await opened.store.create({ draft, attributes: NONE });
    // Two lock timeouts, and none of the connection's.
    const patient = await openPostgresStore(postgres.url);
    const save = { key: held.key, set: NONE, remove: [], save: anySave() };
    try {
      await direct.sql.transaction(async (tx) => {
        await tx.query('SELECT 1 FROM lockstep_session WHERE id = $1 FOR UPDATE', [held.key.id]);
        await expect(patient.store.save(save)).rejects.toMatchObject(unavailable('not-applied'));
        expect(await opened.store.load({ key: held.key, touchAfterMs: 60_000 })).toBeDefined();
        expect(await opened.store.save({ ...save, key: free.key })).toMatchObject({ outcome: 'saved' });
      });
      expect(await patient.store.save(save)).toMatchObject({ outcome: 'saved', version: 2 });
    } finally {
      await patient.close();
    }
  });

  it('are watched again after the connection was lost, which ends none of them', async () => {
    const draft = userDraft();
    await opened.store.create({ draft, attributes: NONE });
    const ended = vi.fn();
    await opened.store.watch(draft.key, ended);
    proxy.cut();
    const listening = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`;
    await eventually(async () => expect(await direct.sql.query(listening)).toHaveLength(1));
    expect(ended).not.toHaveBeenCalled();
    await direct.store.remove({ group: draft.key.group });
    await eventually(() => expect(ended).toHaveBeenCalledTimes(1));
  });
});

describe('a Postgres that is killed and restarted', () => {
  let server: Awaited<ReturnType<typeof startPostgres>>;
  let opened: OpenPostgresStore;
  beforeAll(async () => {
    server = await startPostgres();
    opened = await openPostgresStore(await server.createDatabase('sessions'), { commandTimeout: '1s' });
  }, 60_000);
  afterAll(async () => {
    await opened.close();
    await server.stop();
  });

  it('has every save that it had answered, and brings back no session that it had removed', async () => {
    const told = { stop: false };
    const failures: unknown[] = [];
    let saves = 0;
    const kept: { key: ReturnType<typeof visitorDraft>['key']; saved: number }[] = [];
    const removed: ReturnType<typeof visitorDraft>['key'][] = [];
    const noted = async <T>(step: () => Promise<T>): Promise<T> => {
      try {
        return await step();
      } catch (error) {
        failures.push(error);
        throw error;
      }
    };
    const again = <T>(step: () => Promise<T>): Promise<T> => eventually(() => noted(step), { timeoutMs: 15_000 });
    const caller = async (): Promise<void> => {
      while (!told.stop) {
        const [user, doomed] = [userDraft(), userDraft()];
        for (const draft of [user, doomed]) await again(() => opened.store.create({ draft, attributes: NONE }));
        const entry = { key: user.key, saved: 0 };
        kept.push(entry);
        for (let n = 1; n <= 5; n += 1) {
          const request = { key: user.key, set: new Map([['n', String(n)]]), remove: [], save: anySave() };
          expect(await again(() => opened.store.save(request))).toMatchObject({ outcome: 'saved', version: n + 1 });
          entry.saved = n;
          saves += 1;
        }
        await again(() => opened.store.remove({ group: doomed.key.group }));
        removed.push(doomed.key);
      }
    };
    const callers = [1, 2, 3, 4].map(caller);
    await eventually(() => expect(saves).toBeGreaterThan(50));
    await server.kill();
    await eventually(() => expect(failures.length).toBeGreaterThan(4));
    await server.restart();
    const before = saves;
    await eventually(() => expect(saves).toBeGreaterThan(before + 50), { timeoutMs: 15_000 });
    told.stop = true;
    await Promise.all(callers);
    for (const failure of failures) expect(failure).toBeInstanceOf(StoreUnavailableError);
    expect(new Set(failures.map((each) => isLockstepError(each) && each.fields.outcome))).toContain('not-applied');
    for (const { key, saved } of kept) {
      const record = await opened.store.load({ key, touchAfterMs: LOOK });
      expect(record?.attributes.get('n')?.text).toBe(String(saved));
    }
    for (const key of removed) expect(await opened.store.load({ key, touchAfterMs: LOOK })).toBeUndefined();
  }, 60_000);
});

describe('a Postgres that is down when the application starts', () => {
  it('lets it start, answers that it is unavailable, and gets its tables at first use', async () => {
    const server = await startPostgres();
    const url = await server.createDatabase('sessions');
    await server.kill();
    const opened = await openPostgresStore(url);
    const draft = visitorDraft();
    const create = () => opened.store.create({ draft, attributes: NONE });
    await expect(create()).rejects.toMatchObject(unavailable('not-applied'));
    await server.restart();
    try {
      await eventually(async () => expect(await create()).toMatchObject({ outcome: 'created' }));
    } finally {
      await opened.close();
      await server.stop();
    }
  }, 60_000);
});

describe('an application', () => {
  const boot = (imports: Parameters<typeof Test.createTestingModule>[0]['imports'] = []) =>
    Test.createTestingModule({
      imports: [CoreModule, ...imports],
      providers: [{ provide: SESSION_STORE, ...checkedDriver('store', postgresSessionStore()) }],
    }).compile();

  it('does not start with postgresSessionStore() and without SqlModule', async () => {
    await expect(boot()).rejects.toThrow('postgresSessionStore() needs SqlModule.forRoot(…) among the imports.');
    await expect(boot()).rejects.toBeInstanceOf(ConfigurationError);
  });

  it('does not start with postgresSessionStore() on a MariaDB, also while that is down', async () => {
    const mariadb = () => SqlModule.forRoot({ driver: mariadbDriver({ url: 'mysql://root@127.0.0.1:1/none' }) });
    await expect(boot([mariadb()])).rejects.toThrow('postgresSessionStore() needs a Postgres; SqlModule has mariadb.');
    await expect(boot([mariadb()])).rejects.toBeInstanceOf(ConfigurationError);
  });

  it('does not start with a pause between purges that is none', () => {
    const options: PostgresSessionOptions = { purgeEvery: 0 };
    expect(() => postgresSessionStore(options)).toThrow('purgeEvery');
  });
});
