import 'reflect-metadata';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';

const postgres = usePostgres();

describe('records that have come to their end', () => {
  let opened: OpenSqlStore;
  beforeAll(async () => {
    opened = await openSqlStore(postgres.url);
  });
  afterAll(() => opened.close());

  const grow = (prefix: string, count: number, change: string) =>
    opened.sql.execute(
      `INSERT INTO lockstep_idempotency (id, state, policy, fence, owner, operation, lease_until, uncertain_since, expires_at)
        SELECT $1 || n, ${change} FROM generate_series(1, $2) n`,
      [prefix, count],
    );
  const left = async () => {
    const rows = await opened.sql.query<{ kind: string; count: string }>(
      `SELECT regexp_replace(id, '[0-9]+', '') AS kind, count(*)::text AS count FROM lockstep_idempotency GROUP BY 1 ORDER BY 1`,
    );
    return Object.fromEntries(rows.map(({ kind, count }) => [kind, Number(count)]));
  };
  const past = `now() - interval '1 hour'`;
  const future = `now() + interval '1 hour'`;

  it('are deleted by several processes side by side, and nothing else is', async () => {
    await grow('completed', 3_000, `'C', 'U', 1, 'o', 'op', NULL, NULL, ${past}`);
    await grow('released', 300, `'R', 'R', 1, 'o', 'op', NULL, NULL, ${past}`);
    await grow('issued', 300, `'I', 'U', 0, '', '', NULL, NULL, ${past}`);
    await grow('over', 300, `'P', 'R', 1, 'o', 'op', ${past}, NULL, ${past}`);
    await grow('kept', 10, `'C', 'U', 1, 'o', 'op', NULL, NULL, ${future}`);
    await grow('running', 10, `'P', 'U', 1, 'o', 'op', ${past}, NULL, NULL`);
    await grow('retried', 10, `'P', 'R', 1, 'o', 'op', ${past}, NULL, ${future}`);
    await grow('uncertain', 10, `'U', 'U', 1, 'o', 'op', NULL, ${past}, NULL`);
    await opened.sql.execute(`INSERT INTO lockstep_idempotency_token
      SELECT 'slot' || n, 't', CASE WHEN n > 300 THEN ${future} ELSE ${past} END FROM generate_series(1, 301) n`);
    const others = await Promise.all([1, 2].map(() => openSqlStore(postgres.url, { store: { purgeEvery: '1s' } })));
    await eventually(async () => expect(await left()).toEqual({ kept: 10, retried: 10, running: 10, uncertain: 10 }), {
      timeoutMs: 10_000,
    });
    await eventually(async () =>
      expect(await opened.sql.query('SELECT slot FROM lockstep_idempotency_token')).toEqual([{ slot: 'slot301' }]),
    );
    for (const other of others) {
      await other.close();
      expect(other.incidents).toEqual([]);
    }
  });

  it('and abandoned ones are found by the index, however many others there are', async () => {
    await grow('many', 20_000, `'C', 'U', 1, 'o', 'op', NULL, NULL, ${future}`);
    await opened.sql.execute('ANALYZE lockstep_idempotency');
    const due = 'coalesce(expires_at, lease_until, uncertain_since)';
    for (const where of [
      `state IN ('I', 'P', 'C', 'R') AND ${due} <= statement_timestamp() AND expires_at <= statement_timestamp()`,
      `state = 'P' AND policy = 'U' AND ${due} <= statement_timestamp() ORDER BY ${due}`,
      `state = 'U' ORDER BY ${due}`,
    ]) {
      const plan = await opened.sql.query(`EXPLAIN SELECT id FROM lockstep_idempotency WHERE ${where} LIMIT 100`);
      expect(JSON.stringify(plan)).toContain('lockstep_idempotency_due');
      expect(JSON.stringify(plan)).not.toContain('Seq Scan');
    }
  });

  it('are marked uncertain by one of many sweeps that run side by side', async () => {
    await opened.store.sweep(1_000);
    await grow('abandoned', 200, `'P', 'U', 1, 'o', 'op', ${past}, NULL, NULL`);
    const marked = await Promise.all(Array.from({ length: 6 }, () => opened.store.sweep(50)));
    const rest = await opened.store.sweep(1_000);
    expect(marked.reduce((sum, each) => sum + each, rest)).toBe(200);
    const listed = await opened.store.listUncertain(1_000);
    expect(listed.filter(({ id }) => id.startsWith('abandoned'))).toHaveLength(200);
  });
});
