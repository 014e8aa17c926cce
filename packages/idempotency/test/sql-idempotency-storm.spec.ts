import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import type { BeginOutcome } from '@lockstep/idempotency';
import type { Sql } from '@lockstep/sql';
import { useMariaDb, usePostgres } from '@lockstep/testing/vitest';
import { createPool } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LONG_MS, request } from './support/begin-request.js';
import { endLease } from './support/sql-servers.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';

const CALLERS = 50;

interface Case {
  readonly name: string;
  use(): { readonly url: string };
  open(url: string): Promise<OpenSqlStore>;
}

/** A default of the database, which statements outside of transactions have too. */
const postgresAt = (isolation: string): Case => ({
  name: `Postgres at ${isolation}`,
  use: usePostgres,
  open: async (url) => {
    const options = encodeURIComponent(`-c default_transaction_isolation=${isolation.replaceAll(' ', '\\ ')}`);
    return atIsolation(await openSqlStore(`${url}?options=${options}`), 'SHOW transaction_isolation', isolation);
  },
});

const cases: readonly Case[] = [
  postgresAt('read committed'),
  postgresAt('repeatable read'),
  postgresAt('serializable'),
  { name: 'MariaDB', use: useMariaDb, open: (url) => openSqlStore(url) },
  {
    name: "MariaDB over the application's pool, at repeatable read",
    use: useMariaDb,
    open: async (url) => {
      const opened = await openSqlStore(url, { pool: createPool({ uri: url, connectionLimit: 6 }) });
      return atIsolation(opened, 'SELECT @@tx_isolation', 'REPEATABLE-READ');
    },
  },
];

async function atIsolation(opened: OpenSqlStore, question: string, isolation: string): Promise<OpenSqlStore> {
  const [row] = await opened.sql.query(question);
  expect(Object.values(row ?? {})).toEqual([isolation]);
  return opened;
}

describe.each(cases)('callers of two processes, on $name', ({ use, open }) => {
  const database = use();
  let processes: OpenSqlStore[];
  beforeAll(async () => {
    processes = await Promise.all([1, 2].map(() => open(database.url)));
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
  const sql = (): Sql => {
    const [first] = processes;
    if (!first) throw new Error('there are two');
    return first.sql;
  };

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
      await endLease(sql(), vanished.id);
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
