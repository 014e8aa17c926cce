import 'reflect-metadata';
import type { SessionHead } from '@lockstep/session';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenPostgresStore, openPostgresStore } from './support/postgres-store.js';
import { HOUR_MS, newGroup, userDraft } from './support/session-drafts.js';

describe('sessions in Postgres that have run out', () => {
  const postgres = usePostgres();
  let opened: OpenPostgresStore;
  beforeAll(async () => {
    opened = await openPostgresStore(postgres.url);
  });
  afterAll(() => opened.close());

  const hours = (count: number): string => `clock_timestamp() + ${count} * interval '1 hour'`;
  /** Of a visitor where the principal is NULL. */
  const grow = (
    prefix: string,
    count: number,
    times: { used: number; expires: number; due: number; principal: string },
  ) =>
    opened.sql.execute(
      `WITH grown AS (
        INSERT INTO lockstep_session
          (version, created_at, issued_at, last_access_at, expires_at, due_at, idle_ms, id, group_id, principal, meta)
        SELECT 1, ${hours(-50)}, ${hours(-50)}, ${hours(times.used)}, ${hours(times.expires)}, ${hours(times.due)},
          ${HOUR_MS}, '${prefix}' || n, '${prefix}' || n, ${times.principal}, '{}' FROM generate_series(1, ${count}) n
        RETURNING row_id
      ) INSERT INTO lockstep_session_attribute SELECT row_id, 1, 'a', '1' FROM grown`,
    );
  const left = async () => {
    const rows = await opened.sql.query<{ kind: string; count: string }>(
      `SELECT regexp_replace(id, '\\d+$', '') AS kind, count(*)::text AS count FROM lockstep_session GROUP BY 1`,
    );
    return Object.fromEntries(rows.map(({ kind, count }) => [kind, Number(count)]));
  };

  it('are deleted by several processes side by side, each told once, and nothing else is', async () => {
    const others = await Promise.all(
      [1, 2, 3].map(() => openPostgresStore(postgres.url, { store: { purgeEvery: '1s' } })),
    );
    const told: string[] = [];
    const hear = (sessions: readonly SessionHead[]): void => {
      for (const { key } of sessions) told.push(key.id);
    };
    for (const { store } of others) store.onExpired(hear);
    try {
      await grow('kept', 20, { used: 0, expires: 1, due: 1, principal: `'u'` });
      await grow('used', 300, { used: 0, expires: 1, due: -1, principal: `'u'` });
      await grow('idle', 1_000, { used: -2, expires: 1, due: -1, principal: `'u'` });
      await grow('over', 300, { used: 0, expires: -1, due: -1, principal: `'u'` });
      await grow('visitor', 1_000, { used: -2, expires: 1, due: -1, principal: 'NULL' });
      await eventually(async () => expect(await left()).toEqual({ kept: 20, used: 300 }), { timeoutMs: 15_000 });
      await eventually(() => expect(told).toHaveLength(1_300));
      expect(new Set(told).size).toBe(1_300);
      const [row] = await opened.sql.query('SELECT count(*)::text AS count FROM lockstep_session_attribute');
      expect(row).toEqual({ count: '320' });
      const due = 'SELECT 1 FROM lockstep_session WHERE due_at <= clock_timestamp()';
      await eventually(async () => expect(await opened.sql.query(due)).toEqual([]));
    } finally {
      for (const other of others) {
        await other.close();
        expect(other.incidents).toEqual([]);
      }
    }
  });

  it('are named to one of many who list at the same time', async () => {
    const group = newGroup();
    const drafts = [1, 2, 3, 4].map(() => userDraft(group));
    for (const draft of drafts) await opened.store.create({ draft, attributes: new Map() });
    await opened.sql.execute(`UPDATE lockstep_session SET last_access_at = ${hours(-2)} WHERE group_id = $1`, [group]);
    const lists = await Promise.all([1, 2, 3, 4, 5].map(() => opened.store.list(group)));
    const expired = lists.flatMap((list) => list.expired);
    expect(expired.toSorted()).toEqual(drafts.map(({ key }) => key.id).toSorted());
  });

  it('and those of a group are found by an index, however many others there are', async () => {
    await grow('many', 20_000, { used: 0, expires: 1, due: 1, principal: `'u'` });
    await opened.sql.execute('ANALYZE lockstep_session');
    for (const [where, index] of [
      [`due_at <= '2020-01-01' ORDER BY due_at`, 'lockstep_session_due'],
      [`group_id = 'many7' AND principal IS NOT NULL`, 'lockstep_session_group'],
    ] as const) {
      const plan = await opened.sql.query(`EXPLAIN SELECT row_id FROM lockstep_session WHERE ${where} LIMIT 100`);
      expect(JSON.stringify(plan)).toContain(index);
      expect(JSON.stringify(plan)).not.toContain('Seq Scan');
    }
  });
});
