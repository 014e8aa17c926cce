import 'reflect-metadata';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SQL_SERVERS } from './support/sql-servers.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';

describe.each(SQL_SERVERS)('records that have come to their end, on $name', (server) => {
  const database = server.use();
  let opened: OpenSqlStore;
  beforeAll(async () => {
    opened = await openSqlStore(database.url);
  });
  afterAll(() => opened.close());

  // MariaDB counts no further than to a thousand.
  const grow = async (prefix: string, count: number, change: string): Promise<void> => {
    for (let from = 1; from <= count; from += 1_000) {
      await opened.sql.execute(
        `INSERT INTO lockstep_idempotency (id, state, policy, fence, owner, operation, lease_until, uncertain_since, expires_at)
          WITH RECURSIVE counted AS (
            SELECT ${from} AS n UNION ALL SELECT n + 1 FROM counted WHERE n < ${Math.min(count, from + 999)}
          )
          SELECT concat('${prefix}', n), ${change} FROM counted`,
      );
    }
  };
  const left = async () => {
    const rows = await opened.sql.query<{ id: string }>('SELECT id FROM lockstep_idempotency');
    const kinds: Record<string, number> = {};
    for (const { id } of rows) {
      const kind = id.replace(/\d+$/, '');
      kinds[kind] = (kinds[kind] ?? 0) + 1;
    }
    return kinds;
  };
  const past = server.inMinutes(-60);
  const future = server.inMinutes(60);

  it('are deleted by several processes side by side, and nothing else is', async () => {
    await grow('completed', 3_000, `'C', 'U', 1, 'o', 'op', NULL, NULL, ${past}`);
    await grow('released', 300, `'R', 'R', 1, 'o', 'op', NULL, NULL, ${past}`);
    await grow('issued', 300, `'I', 'U', 0, '', '', NULL, NULL, ${past}`);
    await grow('over', 300, `'P', 'R', 1, 'o', 'op', ${past}, NULL, ${past}`);
    await grow('kept', 10, `'C', 'U', 1, 'o', 'op', NULL, NULL, ${future}`);
    await grow('running', 10, `'P', 'U', 1, 'o', 'op', ${past}, NULL, NULL`);
    await grow('retried', 10, `'P', 'R', 1, 'o', 'op', ${past}, NULL, ${future}`);
    await grow('uncertain', 10, `'U', 'U', 1, 'o', 'op', NULL, ${past}, NULL`);
    await opened.sql.execute(`INSERT INTO lockstep_idempotency_token (slot, token, expires_at)
      WITH RECURSIVE counted AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM counted WHERE n < 301)
      SELECT concat('slot', n), 't', CASE WHEN n > 300 THEN ${future} ELSE ${past} END FROM counted`);
    const others = await Promise.all([1, 2].map(() => openSqlStore(database.url, { store: { purgeEvery: '1s' } })));
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

describe('records that have come to their end, and abandoned ones', () => {
  const postgres = usePostgres();
  let opened: OpenSqlStore;
  beforeAll(async () => {
    opened = await openSqlStore(postgres.url);
  });
  afterAll(() => opened.close());

  it('are found by the index, however many others there are', async () => {
    await opened.sql.execute(
      `INSERT INTO lockstep_idempotency (id, state, policy, fence, owner, operation, expires_at)
        SELECT n, 'C', 'U', 1, 'o', 'op', now() + interval '1 hour' FROM generate_series(1, 20000) n`,
    );
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
});
