import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { clientsBy, type Send, type Statement } from './support/faulty-client.js';
import { hold } from './support/lock-requests.js';
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
});
