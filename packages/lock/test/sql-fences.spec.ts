import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { ConfigurationError } from '@lockstep/core';
import { StaleFenceError } from '@lockstep/lock';
import { sqlFences } from '@lockstep/lock/sql';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Test } from '@nestjs/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedSql, openSql } from './support/sql-app.js';

const HOUR_MS = 3_600_000;
const GREATEST = 9_223_372_036_854_775_807n;

describe('fences of resources in Postgres', () => {
  const postgres = usePostgres();
  let opened: OpenedSql;
  beforeAll(async () => {
    opened = await openSql(postgres.url);
    await opened.fences.prepare();
  });
  afterAll(() => opened.app.close());

  const touch = (resource: string, fence: bigint) => opened.fences.touch(opened.sql, resource, fence);
  const kept = async (resource: string) => {
    const text = 'SELECT fence::text AS fence FROM lockstep_fence WHERE resource = $1';
    const [row] = await opened.sql.query<{ fence: string }>(text, [resource]);
    return row?.fence;
  };
  const grow = async (prefix: string, count: number, days: number) => {
    await opened.sql.execute(
      `INSERT INTO lockstep_fence (resource, fence, touched_at)
        SELECT $1 || lpad(n::text, 6, '0'), 1, clock_timestamp() - $2 * interval '1 day' FROM generate_series(1, $3) n`,
      [prefix, days, count],
    );
  };

  it('rise, may repeat, and are refused below the greatest, digit for digit', async () => {
    const resource = randomUUID();
    for (const fence of [0n, 1_795_244_190_149_499n, 1_795_244_190_149_500n, GREATEST - 1n, GREATEST, GREATEST]) {
      await touch(resource, fence);
    }
    await expect(touch(resource, GREATEST - 1n)).rejects.toMatchObject({
      code: 'STALE_FENCE',
      fields: { resource, fence: (GREATEST - 1n).toString(), seen: GREATEST.toString() },
    });
    expect(await kept(resource)).toBe(GREATEST.toString());
  });

  it('are those of one resource each', async () => {
    const [one, other] = [randomUUID(), randomUUID()];
    await touch(one, 9n);
    await touch(other, 1n);
    expect(await kept(other)).toBe('1');
  });

  it('stay as they were when the transaction of the touch rolls back', async () => {
    const resource = randomUUID();
    await touch(resource, 1n);
    const rolledBack = opened.sql.transaction(async (tx) => {
      await opened.fences.touch(tx, resource, 5n);
      throw new Error('no');
    });
    await expect(rolledBack).rejects.toThrow('no');
    await touch(resource, 2n);
    expect(await kept(resource)).toBe('2');
  });

  it('let a stale holder undo its whole transaction, or go on if it catches the refusal', async () => {
    const resource = randomUUID();
    await touch(resource, 2n);
    await opened.sql.execute('CREATE TABLE IF NOT EXISTS effect (name text)');
    const late = (goOn: boolean) =>
      opened.sql.transaction(async (tx) => {
        await tx.execute('INSERT INTO effect VALUES ($1)', [resource]);
        await opened.fences.touch(tx, resource, 1n).catch((error: unknown) => {
          if (!goOn) throw error;
        });
      });
    const effects = () => opened.sql.query('SELECT 1 FROM effect WHERE name = $1', [resource]);
    await expect(late(false)).rejects.toBeInstanceOf(StaleFenceError);
    expect(await effects()).toHaveLength(0);
    await late(true);
    expect(await effects()).toHaveLength(1);
  });

  it.each([
    ['a new resource', false],
    ['a known resource', true],
  ])('make the touches of %s wait for the transaction of an earlier one', async (_, isKnown) => {
    const resource = randomUUID();
    if (isKnown) await touch(resource, 1n);
    let commitFirst: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      commitFirst = resolve;
    });
    const entered = { first: false };
    const first = opened.sql.transaction(async (tx) => {
      await opened.fences.touch(tx, resource, 3n);
      entered.first = true;
      await held;
    });
    await eventually(() => expect(entered.first).toBe(true));
    const later = [touch(resource, 2n), touch(resource, 4n)];
    const settled = Promise.allSettled(later);
    await eventually(async () => {
      const waiting = await opened.sql.query(`SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'
        AND datname = current_database()`);
      expect(waiting).toHaveLength(2);
    });
    commitFirst();
    await first;
    const [stale, fresh] = await settled;
    expect(stale).toMatchObject({ status: 'rejected', reason: { code: 'STALE_FENCE' } });
    expect(fresh).toMatchObject({ status: 'fulfilled' });
  });

  it.each([4n, 6n])('are never judged by an old snapshot: the database refuses touch %s', async (fence) => {
    const resource = randomUUID();
    await touch(resource, 1n);
    const late = opened.sql.transaction(
      async (tx) => {
        await tx.query('SELECT 1 FROM lockstep_fence');
        await touch(resource, 5n);
        await opened.fences.touch(tx, resource, fence);
      },
      { isolation: 'repeatable read' },
    );
    await expect(late).rejects.toMatchObject({ code: '40001' });
    expect(await kept(resource)).toBe('5');
  });

  it('are forgotten when they were touched longer ago, page by page, and no others', async () => {
    await grow('old:', 2_500, 20);
    await grow('new:', 1_500, 1);
    expect(await opened.fences.purge(14 * 24 * HOUR_MS)).toBe(2_500);
    const rest = await opened.sql.query(`SELECT 1 FROM lockstep_fence WHERE resource LIKE 'new:%'`);
    expect(rest).toHaveLength(1_500);
  });

  it('are not forgotten while a transaction touches them', async () => {
    await grow('busy:', 1, 20);
    await opened.sql.transaction(async (tx) => {
      await opened.fences.touch(tx, 'busy:000001', 2n);
      expect(await opened.fences.purge(14 * 24 * HOUR_MS)).toBe(0);
    });
    expect(await kept('busy:000001')).toBe('2');
  });

  it('are purged by the application itself, side by side with others', async () => {
    await grow('reaped:', 2_500, 3);
    const reapers = await Promise.all([1, 2].map(() => openSql(postgres.url, { fenceRetention: '2d' })));
    await Promise.all(reapers.map(({ fences }) => fences.prepare()));
    await eventually(async () => {
      expect(await opened.sql.query(`SELECT 1 FROM lockstep_fence WHERE resource LIKE 'reaped:%'`)).toEqual([]);
    });
    await Promise.all(reapers.map(({ app }) => app.close()));
    expect(reapers.map(({ incidents }) => incidents)).toEqual([[], []]);
  });

  it('refuse what is no fence and no name before anything is sent', async () => {
    const sent: string[] = [];
    const tx = {
      dialect: 'postgres' as const,
      query: async (text: string): Promise<never[]> => {
        sent.push(text);
        return [];
      },
      execute: async (): Promise<number> => 0,
    };
    for (const fence of [undefined, 1, '1', -1n, GREATEST + 1n]) {
      await expect(opened.fences.touch(tx, 'r', fence as bigint)).rejects.toMatchObject({ code: 'FENCE_MISUSE' });
    }
    for (const resource of ['', 'x'.repeat(513), 'a\0b', undefined as unknown as string]) {
      await expect(opened.fences.touch(tx, resource, 1n)).rejects.toMatchObject({ code: 'FENCE_MISUSE' });
    }
    expect(sent).toEqual([]);
  });

  it('say at boot what is wrong', async () => {
    const missing = Test.createTestingModule({ providers: [sqlFences()] }).compile();
    await expect(missing).rejects.toThrow('SqlModule.forRoot');
    expect(() => sqlFences({ fenceRetention: '59m' })).toThrow(ConfigurationError);
    expect(() => sqlFences({ purgeEvery: 10 })).toThrow(ConfigurationError);
  });
});
