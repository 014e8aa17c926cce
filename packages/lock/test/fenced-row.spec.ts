import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { StaleFenceError } from '@lockstep/lock';
import { type FencedRead, type FencedUpdate, fencedRead, fencedUpdate } from '@lockstep/lock/sql';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedSql, openSql } from './support/sql-app.js';

const GREATEST = 9_223_372_036_854_775_807n;

describe('rows of the application behind a fence', () => {
  const postgres = usePostgres();
  let opened: OpenedSql;
  beforeAll(async () => {
    opened = await openSql(postgres.url);
    await opened.sql.execute(`CREATE SCHEMA bank;
      CREATE TABLE bank.account (id uuid PRIMARY KEY, balance integer NOT NULL, fence bigint NOT NULL DEFAULT 0);
      CREATE TABLE "Odd ""Name" (tenant text, "the key" integer, value text, "lock ""fence" bigint,
        PRIMARY KEY (tenant, "the key"))`);
  });
  afterAll(() => opened.app.close());

  const account = async (balance = 0) => {
    const id = randomUUID();
    await opened.sql.execute('INSERT INTO bank.account (id, balance) VALUES ($1, $2)', [id, balance]);
    return id;
  };
  const read = (id: string, fence: bigint, more: Partial<FencedRead> = {}) =>
    fencedRead<{ balance: number }>(opened.sql, { table: 'bank.account', key: { id }, fence, ...more });
  const update = (id: string, fence: bigint, more: Partial<FencedUpdate> = {}) =>
    fencedUpdate(opened.sql, { table: 'bank.account', key: { id }, fence, set: { balance: 7 }, ...more });

  it('refuse a write under less than the fence of the last read (C3)', async () => {
    const id = await account();
    await read(id, 1n);
    await read(id, 2n);
    await expect(update(id, 1n)).rejects.toBeInstanceOf(StaleFenceError);
    expect(await update(id, 2n)).toBe(1);
    expect(await read(id, 2n)).toMatchObject({ balance: 7 });
  });

  it('refuse a read and a write under less than the fence of the last write, and change nothing', async () => {
    const id = await account(1);
    await update(id, 1_795_244_190_149_500n);
    for (const attempt of [read, update]) {
      await expect(attempt(id, 1_795_244_190_149_499n)).rejects.toMatchObject({
        code: 'STALE_FENCE',
        fields: { resource: 'bank.account', fence: '1795244190149499', seen: '1795244190149500' },
      });
    }
    expect(await read(id, 1_795_244_190_149_500n)).toMatchObject({ balance: 7, fence: '1795244190149500' });
  });

  it('tell the two greatest fences apart', async () => {
    const id = await account();
    expect(await update(id, GREATEST - 1n)).toBe(1);
    expect(await update(id, GREATEST)).toBe(1);
    await expect(read(id, GREATEST - 1n)).rejects.toMatchObject({ seen: GREATEST });
  });

  it('that are missing are no stale ones', async () => {
    expect(await read(randomUUID(), 1n)).toBeUndefined();
    expect(await update(randomUUID(), 1n)).toBe(0);
  });

  it('give back the columns that were asked for', async () => {
    const id = await account(42);
    expect(await read(id, 1n, { columns: ['balance'] })).toEqual({ balance: 42 });
    expect(await read(id, 1n)).toEqual({ id, balance: 42, fence: '1' });
  });

  it('may have any names, several key columns, and a fence that is NULL', async () => {
    const odd = { table: 'Odd "Name', key: { tenant: `o'x"`, 'the key': 7 }, fenceColumn: 'lock "fence' };
    await opened.sql.execute(`INSERT INTO "Odd ""Name" VALUES ($1, 7, 'old', NULL)`, [odd.key.tenant]);
    expect(await fencedRead(opened.sql, { ...odd, fence: 5n, columns: ['value'] })).toEqual({ value: 'old' });
    expect(await fencedUpdate(opened.sql, { ...odd, fence: 6n, set: { value: `'; DROP TABLE x; --` } })).toBe(1);
    await expect(fencedRead(opened.sql, { ...odd, fence: 5n })).rejects.toMatchObject({ seen: 6n });
  });

  it('are guarded inside a transaction of the application, and undone with it', async () => {
    const id = await account();
    const rolledBack = opened.sql.transaction(async (tx) => {
      await fencedRead(tx, { table: 'bank.account', key: { id }, fence: 9n });
      await fencedUpdate(tx, { table: 'bank.account', key: { id }, fence: 9n, set: { balance: 1 } });
      throw new Error('no');
    });
    await expect(rolledBack).rejects.toThrow('no');
    expect(await read(id, 1n)).toMatchObject({ balance: 0 });
  });

  it('are never judged by an old snapshot: the database refuses', async () => {
    const id = await account();
    const late = opened.sql.transaction(
      async (tx) => {
        await tx.query('SELECT 1 FROM bank.account');
        await update(id, 5n);
        await fencedRead(tx, { table: 'bank.account', key: { id }, fence: 6n });
      },
      { isolation: 'repeatable read' },
    );
    await expect(late).rejects.toMatchObject({ code: '40001' });
    expect(await read(id, 5n)).toMatchObject({ balance: 7 });
  });

  it('that a key finds several of are refused, and nothing is kept of it in a transaction', async () => {
    const [one, other] = [await account(3), await account(3)];
    const careless = opened.sql.transaction(async (tx) => {
      await fencedUpdate(tx, { table: 'bank.account', key: { balance: 3 }, fence: 1n, set: { balance: 4 } });
    });
    await expect(careless).rejects.toMatchObject({ code: 'FENCE_MISUSE', kind: 'misuse' });
    for (const id of [one, other]) expect(await read(id, 1n)).toMatchObject({ balance: 3, fence: '1' });
  });

  it('are not touched by a call that would guard nothing', async () => {
    const sent: string[] = [];
    const note = (text: string): void => void sent.push(text);
    const sql = {
      dialect: 'postgres' as const,
      query: async (text: string): Promise<never[]> => {
        note(text);
        return [];
      },
      execute: async (text: string): Promise<number> => {
        note(text);
        return 0;
      },
    };
    const good: FencedUpdate = { table: 't', key: { id: 1 }, fence: 1n, set: { a: 1 } };
    const bad: Record<string, Partial<Record<keyof FencedUpdate, unknown>>> = {
      'no fence': { fence: undefined },
      'a number': { fence: 1 },
      'a negative fence': { fence: -1n },
      'no key': { key: {} },
      'a key of null': { key: { id: null } },
      'a key of undefined': { key: { id: undefined } },
      'nothing to set': { set: {} },
      'undefined to set': { set: { a: undefined } },
      'the fence to set': { set: { fence: 9n } },
      'the fence as key': { key: { fence: 9n } },
      'an empty table': { table: '' },
      'a table of three parts': { table: 'a.b.c' },
      'a name with a NUL': { table: 'a\0b' },
      'a name that would be cut off': { set: { ['x'.repeat(64)]: 1 } },
      'an empty fence column': { fenceColumn: '' },
    };
    for (const [what, part] of Object.entries(bad)) {
      const call = fencedUpdate(sql, { ...good, ...part } as FencedUpdate);
      await expect(call, what).rejects.toMatchObject({ code: 'FENCE_MISUSE' });
    }
    await expect(fencedRead(sql, { ...good, columns: ['x'.repeat(64)] })).rejects.toMatchObject({
      code: 'FENCE_MISUSE',
    });
    expect(sent).toEqual([]);
  });
});

describe('rows of MariaDB behind a fence', () => {
  /** What would be sent, and the answers to it; a driver for the server itself is still to come. */
  function recorder(answers: readonly object[] = []) {
    const sent: { text: string; params: readonly unknown[] }[] = [];
    return {
      sent,
      sql: {
        dialect: 'mariadb' as const,
        query: async <Row>(text: string, params: readonly unknown[] = []): Promise<Row[]> => {
          sent.push({ text, params });
          return answers as Row[];
        },
        execute: async (text: string, params: readonly unknown[] = []): Promise<number> => {
          sent.push({ text, params });
          return answers.length;
        },
      },
    };
  }
  const row = { table: 'bank.account', key: { id: 5 }, fence: 7n };

  it('are touched first and then read as they are now, with fences compared as numbers', async () => {
    const { sql, sent } = recorder([{ balance: 3, lockstep_seen: '7' }]);
    expect(await fencedRead(sql, { ...row, columns: ['balance'] })).toEqual({ balance: 3 });
    expect(sent).toEqual([
      {
        text:
          'UPDATE `bank`.`account` SET `fence` = CAST($1 AS SIGNED) WHERE `id` = $2 ' +
          'AND (`fence` IS NULL OR `fence` <= CAST($3 AS SIGNED))',
        params: ['7', 5, '7'],
      },
      {
        text: 'SELECT `balance`, CAST(`fence` AS CHAR) AS lockstep_seen FROM `bank`.`account` WHERE `id` = $1 FOR UPDATE',
        params: [5],
      },
    ]);
  });

  it('are told apart by what is read: stale, missing, or come since', async () => {
    await expect(fencedRead(recorder([{ lockstep_seen: '8' }]).sql, row)).rejects.toMatchObject({ seen: 8n });
    expect(await fencedRead(recorder([]).sql, row)).toBeUndefined();
    expect(await fencedRead(recorder([{ lockstep_seen: '6' }]).sql, row)).toBeUndefined();
  });
});
