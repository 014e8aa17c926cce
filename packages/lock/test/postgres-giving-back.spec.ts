import 'reflect-metadata';
import type { StoreLoss } from '@lockstep/lock';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { clientsBy, REFUSED, type Send, type Statement } from './support/faulty-client.js';
import { hold, wish } from './support/lock-requests.js';
import { PostgresLocks } from './support/postgres-locks.js';
import { type OpenedPostgres, openPostgres } from './support/postgres-store.js';

const READER = { capacity: Number.POSITIVE_INFINITY };
const postgres = usePostgres();
let locks: PostgresLocks;
let one: OpenedPostgres;
let other: OpenedPostgres;
let refusals: number;
let slow: { readonly answered: Promise<unknown> } | undefined;

function refuse(statement: Statement, send: Send): ReturnType<Send> {
  if (statement.name !== 'lockstep_unlock' || refusals === 0) return send(statement);
  refusals -= 1;
  return send(REFUSED);
}

beforeAll(async () => {
  locks = await PostgresLocks.connect(postgres.url);
});
afterAll(() => locks.end());
beforeEach(async () => {
  refusals = 0;
  slow = undefined;
  one = await openPostgres(postgres.url, { client: clientsBy(postgres.url, refuse) });
  other = await openPostgres(postgres.url);
});
afterEach(() => Promise.all([one.app.close(), other.app.close()]));

describe('a lock that is given back to Postgres', () => {
  for (const [name, mode] of [
    ['alone', {}],
    ['by a reader', READER],
  ] as const) {
    it(`${name} is free when the server refuses that once`, async () => {
      const [holder, kept] = [await hold(one.store, mode), await hold(one.store)];
      refusals = 1;
      expect(await one.store.release([holder])).toEqual([{ status: 'released' }]);
      await hold(other.store, { key: holder.key });
      expect(await one.store.extend([{ ...kept, ttlMs: 10_000 }])).toMatchObject([{ status: 'extended' }]);
    });
  }

  it('is free when the server refuses that again and again: its session ends, and those who had it are told', async () => {
    const losses: StoreLoss[] = [];
    const [holder] = [await hold(one.store), await hold(one.store, { onLost: (cause) => losses.push(cause) })];
    refusals = 2;
    expect(await one.store.release([holder])).toEqual([{ status: 'not-held' }]);
    expect(losses).toEqual(['session']);
    expect(one.codes).toEqual(['LOCK_SESSION_LOST']);
    await eventually(() => hold(other.store, { key: holder.key }));
    await hold(one.store);
  });

  it('because it got no fence is free when the server refuses that once', async () => {
    const [{ fence }, key] = [await hold(one.store), wish().key];
    await locks.client.query(`ALTER SEQUENCE lockstep_lock_fence MAXVALUE ${fence}`);
    refusals = 1;
    await expect(one.store.acquire(wish({ key }))).rejects.toMatchObject({ code: '2200H' });
    await locks.client.query('ALTER SEQUENCE lockstep_lock_fence NO MAXVALUE');
    await hold(other.store, { key });
  });
});

describe('a wait on Postgres that is given up', () => {
  it('before it was sent cancels nothing that its session does before', async () => {
    const delay = async (statement: Statement, send: Send): ReturnType<Send> => {
      if (!statement.text.startsWith('SELECT set_config(w.name')) return send(statement);
      const answered = send({ text: 'SELECT pg_sleep(0.5)', values: [] });
      slow = { answered };
      await answered;
      return send(statement);
    };
    const delayed = await openPostgres(postgres.url, { client: clientsBy(postgres.url, delay) });
    const { key } = await hold(other.store);
    await hold(delayed.store, { ttlMs: 30_000 });
    slow = undefined;
    const controller = new AbortController();
    const left = delayed.store.acquire({ ...wish({ key, ttlMs: 20_000, waitMs: 30_000 }), signal: controller.signal });
    left.catch(() => undefined);
    const { answered } = await eventually(() => slow ?? Promise.reject(new Error('not yet')));
    controller.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    expect(await answered).toMatchObject({ rowCount: 1 });
    expect(await locks.count(false)).toBe(0);
    await delayed.app.close();
  });
});
