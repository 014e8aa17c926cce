import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { clientsBy, type Send, type Statement } from './support/faulty-client.js';
import { hold, wish } from './support/lock-requests.js';
import { PostgresLocks } from './support/postgres-locks.js';
import { type OpenedPostgres, openPostgres } from './support/postgres-store.js';

const postgres = usePostgres();
let locks: PostgresLocks;
let other: OpenedPostgres;

beforeAll(async () => {
  locks = await PostgresLocks.connect(postgres.url);
});
afterAll(() => locks.end());
beforeEach(async () => {
  other = await openPostgres(postgres.url);
});
afterEach(() => other.app.close());

async function waitingBecome(count: number): Promise<void> {
  await eventually(async () => expect(await locks.count(false)).toBe(count));
}

describe('those who wait on Postgres', () => {
  it('try for more sessions less and less often where none can be opened, and get them when they can', async () => {
    const role = `few_${randomUUID().replaceAll('-', '')}`;
    await locks.client.query(`CREATE ROLE ${role} LOGIN CONNECTION LIMIT 2`);
    await locks.client.query(`GRANT USAGE ON SEQUENCE lockstep_lock_fence TO ${role}`);
    const url = new URL(postgres.url);
    url.username = role;
    const few = await openPostgres(postgres.url, { lockUrl: url.href });
    const held = [await hold(other.store), await hold(other.store)];
    const waiting = [hold(few.store, { key: held[0]?.key ?? '', waitMs: 20_000 })];
    await waitingBecome(1);
    waiting.push(hold(few.store, { key: held[1]?.key ?? '', waitMs: 20_000 }));
    const until = monotonicMs() + 2_000;
    await eventually(() => expect(monotonicMs()).toBeGreaterThan(until));
    expect(few.codes.length).toBeGreaterThan(0);
    expect(few.codes.length).toBeLessThan(8);
    await locks.client.query(`ALTER ROLE ${role} CONNECTION LIMIT 10`);
    await waitingBecome(2);
    await other.store.release(held);
    await Promise.all(waiting);
    await few.app.close();
    await locks.client.query(`DROP OWNED BY ${role}`);
    await locks.client.query(`DROP ROLE ${role}`);
  });

  it('get a session that became free while they asked', async () => {
    let [asked, open]: [number, () => void] = [0, () => undefined];
    let gate: Promise<void> | undefined;
    const wayOf = async (statement: Statement, send: Send): ReturnType<Send> => {
      if (statement.name === 'lockstep_lock' && gate) {
        asked += 1;
        await gate;
      }
      return send(statement);
    };
    const one = await openPostgres(postgres.url, { client: clientsBy(postgres.url, wayOf), waiters: 1 });
    const held = [await hold(other.store), await hold(other.store)];
    const first = hold(one.store, { key: held[0]?.key ?? '', waitMs: 20_000 });
    await waitingBecome(1);
    const second = hold(one.store, { key: held[1]?.key ?? '', waitMs: 20_000 });
    await other.store.release(held.slice(0, 1));
    const carried = await first;
    gate = new Promise((resolve) => {
      open = resolve;
    });
    await eventually(() => expect(asked).toBe(1));
    await one.store.release([carried]);
    gate = undefined;
    open();
    await waitingBecome(1);
    await other.store.release(held.slice(1));
    await second;
    await one.app.close();
  });

  it('ask again when one statement has waited long enough, and are granted all the same', async () => {
    const one = await openPostgres(postgres.url);
    Reflect.get(Reflect.get(one.store, 'waiters'), 'host').longestStatementMs = 200;
    const holder = await hold(other.store);
    const waiter = hold(one.store, { key: holder.key, waitMs: 20_000 });
    const begun = new Set<string>();
    await eventually(async () => {
      const { rows } = await locks.client.query(
        `SELECT query_start::text AS begun, clock_timestamp() - query_start < '1s' AS short FROM pg_stat_activity
          WHERE wait_event = 'advisory' AND datname = current_database()`,
      );
      for (const row of rows) {
        expect(row.short).toBe(true);
        begun.add(row.begun);
      }
      expect(begun.size).toBeGreaterThan(2);
    });
    await other.store.release([holder]);
    expect((await waiter).fence).toBeGreaterThan(holder.fence);
    const late = one.store.acquire(wish({ key: holder.key, waitMs: 700 }));
    expect(await late).toMatchObject({ status: 'busy' });
    expect(await locks.count(true)).toBe(1);
    await one.app.close();
  });

  for (const [name, step] of [
    ['forward', 3_600_000],
    ['back', -3_600_000],
  ] as const) {
    it(`get a whole lease and no more when the clock of the server was set ${name} meanwhile`, async () => {
      const setClock = async (statement: Statement, send: Send): ReturnType<Send> => {
        const result = await send(statement);
        const [row] = result.rows as { waited?: number }[];
        if (row?.waited !== undefined) row.waited += step;
        return result;
      };
      const one = await openPostgres(postgres.url, { client: clientsBy(postgres.url, setClock) });
      const holder = await hold(other.store);
      const askedAt = monotonicMs();
      const waiter = hold(one.store, { key: holder.key, waitMs: 20_000, ttlMs: 8_000 });
      await waitingBecome(1);
      await other.store.release([holder]);
      const { deadline } = await waiter;
      expect(deadline).toBeLessThanOrEqual(monotonicMs() + 8_000);
      expect(deadline).toBeGreaterThanOrEqual(askedAt + 8_000);
      await one.app.close();
    });
  }
});
