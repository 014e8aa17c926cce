import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import type { BeginOutcome } from '@lockstep/idempotency';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LONG_MS, request } from './support/begin-request.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';

const CALLERS = 50;

describe.each(['read committed', 'repeatable read', 'serializable'])('callers of two processes, at %s', (isolation) => {
  const postgres = usePostgres();
  let processes: OpenSqlStore[];
  beforeAll(async () => {
    const client = new pg.Client(postgres.url);
    await client.connect();
    const database = new URL(postgres.url).pathname.slice(1);
    await client.query(`ALTER DATABASE ${database} SET default_transaction_isolation = '${isolation}'`);
    await client.end();
    processes = await Promise.all([1, 2].map(() => openSqlStore(postgres.url)));
  });
  afterAll(() => Promise.all(processes.map((each) => each.close())));

  const storeOf = (caller: number) => {
    const chosen = processes[caller % processes.length];
    if (!chosen) throw new Error('there are two');
    return chosen.store;
  };
  const storm = (id: string, change: object = {}): Promise<BeginOutcome[]> =>
    Promise.all(Array.from({ length: CALLERS }, (_, n) => storeOf(n).begin(request({ id, ...change }))));
  const owners = (outcomes: readonly BeginOutcome[]) => outcomes.filter(({ outcome }) => outcome === 'acquired');
  const endLease = (id: string) =>
    processes[0]?.sql.execute(
      `UPDATE lockstep_idempotency SET lease_until = clock_timestamp() - interval '1 second' WHERE id = $1`,
      [id],
    );

  it('are one owner and forty-nine who are told so, for a new operation, many times over', async () => {
    for (let round = 0; round < 10; round += 1) {
      const outcomes = await storm(randomUUID());
      expect(owners(outcomes)).toHaveLength(1);
      expect(outcomes.filter(({ outcome }) => outcome === 'busy')).toHaveLength(CALLERS - 1);
    }
  });

  it('are one owner for an operation whose owner vanished, or released it, or that was issued', async () => {
    for (let round = 0; round < 5; round += 1) {
      const vanished = request({ onLeaseExpiry: 'retry' });
      await storeOf(round).begin(vanished);
      await endLease(vanished.id);
      expect(owners(await storm(vanished.id, { isWaiting: true }))).toHaveLength(1);
      const released = request();
      await storeOf(round).begin(released);
      await storeOf(round).settle(released, { to: 'released', notApplied: true, retentionMs: LONG_MS });
      expect(owners(await storm(released.id, { isWaiting: true }))).toHaveLength(1);
      const issued = randomUUID();
      await storeOf(round).issue(issued, LONG_MS);
      expect(owners(await storm(issued, { requiresIssue: true }))).toHaveLength(1);
    }
  });

  it('are never in the way of sweeps, renewals and settlements of the same rows for long', async () => {
    const claims = Array.from({ length: 30 }, () => request());
    await Promise.all(claims.map((claim, n) => storeOf(n).begin(claim)));
    const backwards = [...claims].reverse();
    const settled = await Promise.all([
      ...claims.map((claim, n) => storeOf(n).settle(claim, { to: 'completed', response: '1', retentionMs: LONG_MS })),
      ...[claims, backwards, claims, backwards].flatMap((items, n) => [
        storeOf(n)
          .renew(items)
          .then(() => true),
        storeOf(n)
          .sweep(10)
          .then(() => true),
      ]),
      ...claims.map((claim, n) =>
        storeOf(n)
          .begin({ ...claim, owner: 'other', isWaiting: true })
          .then(() => true),
      ),
    ]);
    expect(settled.every(Boolean)).toBe(true);
    const answers = await Promise.all(claims.map((claim, n) => storeOf(n + 1).begin({ ...claim, owner: 'other' })));
    expect(answers).toEqual(claims.map(() => ({ outcome: 'completed', response: '1' })));
  });
});
