import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LONG_MS, request } from './support/begin-request.js';
import { endRetention, SQL_SERVERS } from './support/sql-servers.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';

const done = { to: 'completed', response: '"done"', retentionMs: LONG_MS } as const;

describe.each(SQL_SERVERS)('SqlIdempotencyStore on $name', (server) => {
  const database = server.use();
  let opened: OpenSqlStore;
  beforeAll(async () => {
    opened = await openSqlStore(database.url);
  });
  afterAll(() => opened.close());

  const isKept = async (id: string) =>
    (await opened.sql.query('SELECT 1 AS one FROM lockstep_idempotency WHERE id = $1', [id])).length === 1;

  it('refuses a begin that arrives after nobody waits for it any more, by the clock of the database', async () => {
    const [late, released] = [request({ applyWithinMs: -5_000 }), request()];
    expect(await opened.store.begin(late)).toEqual({ outcome: 'late' });
    expect(await isKept(late.id)).toBe(false);
    await opened.store.begin(released);
    await opened.store.settle(released, { to: 'released', notApplied: true, retentionMs: LONG_MS });
    expect(await opened.store.begin({ ...released, owner: 'other', applyWithinMs: -5_000 })).toEqual({
      outcome: 'late',
    });
  });

  it('takes what has come to its end as if it were gone, before any purge, but for the fence', async () => {
    const { store } = opened;
    const first = request();
    const begun = await store.begin(first);
    await store.settle(first, done);
    await opened.sql.execute('UPDATE lockstep_idempotency SET fence = 9007199254740993 WHERE id = $1', [first.id]);
    await endRetention(opened.sql, first.id);
    expect(await store.begin({ ...first, requiresIssue: true })).toEqual({ outcome: 'absent' });
    expect(await store.settle(first, done)).toBe(false);
    const second = { ...first, owner: 'other', fingerprint: 'other' };
    expect(begun).toMatchObject({ outcome: 'acquired' });
    expect(await store.begin(second)).toEqual({
      outcome: 'acquired',
      fence: 9_007_199_254_740_994n,
      recovered: false,
    });
    expect(await store.renew([{ ...first, retentionMs: 1 }])).toEqual(['lost']);
    await store.settle(second, { to: 'released', notApplied: false, retentionMs: LONG_MS });
    await endRetention(opened.sql, first.id);
    await store.issue(first.id, LONG_MS);
    const third = await store.begin({ ...first, owner: 'third', requiresIssue: true });
    expect(third).toMatchObject({ outcome: 'acquired', fence: 9_007_199_254_740_995n, recovered: false });
  });

  it('commits at once, on a connection of its own, also inside a transaction that rolls back', async () => {
    const first = request();
    const work = opened.sql.transaction(async () => {
      await opened.store.begin(first);
      await opened.store.settle(first, done);
      throw new Error('business');
    });
    await expect(work).rejects.toThrow('business');
    expect(await opened.store.begin({ ...first, owner: 'other' })).toMatchObject({ outcome: 'completed' });
  });

  it('keeps what an operator resolves of a transaction for as long as that was begun with', async () => {
    const { store } = opened;
    const begun = request();
    await store.transact({ ...begun, waitMs: 0 }, async () => ({ response: undefined, value: 1, effects: 'undo' }));
    expect(await store.resolve(begun.id, { ...done, retentionMs: 0 })).toBe(true);
    expect(await store.begin({ ...begun, owner: 'other' })).toEqual({ outcome: 'completed', response: '"done"' });
  });

  it('passes over a claim that somebody has in hand, and renews the others of the batch', async () => {
    const [held, free] = [request(), request()];
    await opened.store.begin(held);
    await opened.store.begin(free);
    await opened.sql.transaction(async (tx) => {
      await tx.query('SELECT 1 FROM lockstep_idempotency WHERE id = $1 FOR UPDATE', [held.id]);
      expect(await opened.store.renew([held, free])).toEqual(['unknown', 'renewed']);
    });
    expect(await opened.store.renew([held, free])).toEqual(['renewed', 'renewed']);
  });

  it('gives a slot to the last token issued for it, and that token to one caller', async () => {
    const { store } = opened;
    const slot = randomUUID();
    await store.issueSingle(slot, 'first', LONG_MS);
    await store.issueSingle(slot, 'second', LONG_MS);
    expect(await store.takeSingle(slot, 'first')).toBe(false);
    const taken = await Promise.all(Array.from({ length: 20 }, () => store.takeSingle(slot, 'second')));
    expect(taken.filter(Boolean)).toHaveLength(1);
    await store.issueSingle(slot, 'third', 0);
    expect(await store.takeSingle(slot, 'third')).toBe(false);
  });
});

describe('claims that somebody waits for', () => {
  const postgres = usePostgres();
  let opened: OpenSqlStore;
  beforeAll(async () => {
    opened = await openSqlStore(postgres.url);
  });
  afterAll(() => opened.close());

  it('are announced by Postgres, and no others', async () => {
    const { store } = opened;
    const heard: string[] = [];
    await opened.sql.listen('lockstep_idempotency', (id) => heard.push(String(id)));
    const [alone, awaited] = [request(), request()];
    for (const each of [alone, awaited]) await store.begin(each);
    await store.begin({ ...alone, owner: 'other' });
    await store.begin({ ...awaited, owner: 'other', isWaiting: true });
    for (const each of [alone, awaited]) await store.settle(each, done);
    await eventually(() => expect(heard).toContain(awaited.id));
    expect(heard).not.toContain(alone.id);
  });
});
