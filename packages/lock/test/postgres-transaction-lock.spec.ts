import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { LockBusyError, LockKeyError } from '@lockstep/lock';
import { TransactionMisuseError } from '@lockstep/sql';
import { pgTransaction } from '@lockstep/sql/postgres';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hold, wish } from './support/lock-requests.js';
import { PostgresLocks } from './support/postgres-locks.js';
import { type OpenedPostgres, openPostgres } from './support/postgres-store.js';

const postgres = usePostgres();
let locks: PostgresLocks;
let one: OpenedPostgres;
let other: OpenedPostgres;

beforeAll(async () => {
  locks = await PostgresLocks.connect(postgres.url);
  one = await openPostgres(postgres.url);
  other = await openPostgres(postgres.url);
  await locks.client.query('CREATE TABLE entry (name text PRIMARY KEY)');
});
afterAll(async () => {
  await Promise.all([one.app.close(), other.app.close()]);
  await locks.end();
});

const isFree = async (key: string): Promise<boolean> => {
  const outcome = await other.store.acquire(wish({ key, token: 'probe' }));
  if (outcome.status === 'granted') await other.store.release([{ key, token: 'probe', deadline: 0 }]);
  return outcome.status === 'granted';
};

describe('a lock of a transaction', () => {
  it('excludes locks of sessions until the commit, and is free right after it', async () => {
    const key = randomUUID();
    await one.sql.transaction(async (tx) => {
      await one.store.lockInTransaction(tx, key);
      expect(await isFree(key)).toBe(false);
    });
    expect(await isFree(key)).toBe(true);
  });

  it('is free after a rollback', async () => {
    const key = randomUUID();
    const work = one.sql.transaction(async (tx) => {
      await one.store.lockInTransaction(tx, key);
      throw new Error('business');
    });
    await expect(work).rejects.toThrow('business');
    expect(await isFree(key)).toBe(true);
  });

  it('is waited for by a session, which gets a greater fence when the commit is done', async () => {
    const key = randomUUID();
    let fence = 0n;
    let waiter: Promise<{ fence: bigint }> | undefined;
    await one.sql.transaction(async (tx) => {
      fence = (await one.store.lockInTransaction(tx, key)).fence;
      await tx.execute('INSERT INTO entry VALUES ($1)', [key]);
      waiter = hold(other.store, { key, waitMs: 10_000 });
      await eventually(async () => expect(await locks.count(false)).toBe(1));
    });
    expect((await waiter)?.fence).toBeGreaterThan(fence);
    expect((await other.sql.query('SELECT 1 FROM entry WHERE name = $1', [key])).length).toBe(1);
  });

  it('that stays busy leaves the transaction alive, and its lock_timeout as it was', async () => {
    const { key } = await hold(other.store);
    const name = randomUUID();
    await one.sql.transaction(async (tx) => {
      await tx.query(`SELECT set_config('lock_timeout', '7s', true)`);
      await tx.execute('INSERT INTO entry VALUES ($1)', [name]);
      await expect(one.store.lockInTransaction(tx, key, { wait: 100 })).rejects.toBeInstanceOf(LockBusyError);
      await expect(one.store.lockInTransaction(tx, key, { wait: 0 })).rejects.toBeInstanceOf(LockBusyError);
      await one.store.lockInTransaction(tx, randomUUID(), { wait: 100 });
      expect(await tx.query('SHOW lock_timeout')).toEqual([{ lock_timeout: '7s' }]);
    });
    expect((await one.sql.query('SELECT 1 FROM entry WHERE name = $1', [name])).length).toBe(1);
  });

  it('is shared with other readers and with no writer', async () => {
    const { key } = await hold(other.store, { capacity: Number.POSITIVE_INFINITY });
    await one.sql.transaction(async (tx) => {
      await one.store.lockInTransaction(tx, key, { shared: true, wait: 100 });
      await one.store.lockInTransaction(tx, key, { shared: true, wait: 0 });
      await expect(one.store.lockInTransaction(tx, key, { wait: 0 })).rejects.toBeInstanceOf(LockBusyError);
    });
  });

  it('is granted again to the transaction that has it', async () => {
    const key = randomUUID();
    await one.sql.transaction(async (tx) => {
      await one.store.lockInTransaction(tx, key);
      await one.store.lockInTransaction(tx, key, { wait: 0 });
    });
    expect(await isFree(key)).toBe(true);
  });

  it('is taken on a transaction that was begun by somebody else', async () => {
    const key = randomUUID();
    const client = new pg.Client(postgres.url);
    await client.connect();
    await client.query('BEGIN');
    const { savepoint: _, ...bare } = pgTransaction(client);
    await one.store.lockInTransaction(pgTransaction(client), key, { wait: '1s' });
    await expect(
      one.store.lockInTransaction({ ...bare, query: (text, params) => pgTransaction(client).query(text, params) }, key),
    ).rejects.toBeInstanceOf(TransactionMisuseError);
    expect(await isFree(key)).toBe(false);
    await client.query('COMMIT');
    expect(await isFree(key)).toBe(true);
    await client.end();
  });

  for (const isolation of ['REPEATABLE READ', 'SERIALIZABLE']) {
    for (const wait of [0, 5_000]) {
      it(`is refused at ${isolation} with wait ${wait}, where the rows would be those of before the wait`, async () => {
        const key = randomUUID();
        const client = new pg.Client(postgres.url);
        await client.connect();
        await client.query(`BEGIN ISOLATION LEVEL ${isolation}`);
        const refused = one.store.lockInTransaction(pgTransaction(client), key, { wait });
        await expect(refused).rejects.toBeInstanceOf(TransactionMisuseError);
        await expect(refused).rejects.toThrow(/READ COMMITTED/);
        expect(await isFree(key)).toBe(true);
        expect((await client.query('SHOW lock_timeout')).rows).toEqual([{ lock_timeout: '0' }]);
        await client.query('COMMIT');
        await client.end();
      });
    }
  }

  it('shows the work of the last holder to whoever gets it', async () => {
    const key = randomUUID();
    let next: Promise<number> | undefined;
    await one.sql.transaction(async (tx) => {
      await one.store.lockInTransaction(tx, key);
      next = other.sql.transaction(async (later) => {
        await other.store.lockInTransaction(later, key, { wait: '10s' });
        return (await later.query('SELECT 1 FROM entry WHERE name = $1', [key])).length;
      });
      await eventually(async () => expect(await locks.count(false)).toBe(1));
      await tx.execute('INSERT INTO entry VALUES ($1)', [key]);
    });
    expect(await next).toBe(1);
  });

  it('has a key like any other lock', async () => {
    await expect(one.sql.transaction((tx) => one.store.lockInTransaction(tx, ''))).rejects.toBeInstanceOf(LockKeyError);
  });
});
