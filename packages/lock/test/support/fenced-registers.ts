import { randomUUID } from 'node:crypto';
import { MemoryFence } from '@lockstep/lock';
import type { FencedRedis } from '@lockstep/lock/redis';
import { fencedRead, fencedUpdate } from '@lockstep/lock/sql';
import type { SqlTransaction } from '@lockstep/sql';
import type { OpenedSql } from './sql-app.js';

/** A number that holders of a lock read, change and write back. Reads and writes under a stale fence reject. */
export interface FencedRegister {
  read(fence: bigint): Promise<number>;
  write(value: number, fence: bigint): Promise<void>;
  /** The value, without a fence. */
  peek(): Promise<number>;
}

export function memoryRegister(): FencedRegister {
  const guard = new MemoryFence();
  let stored = 0;
  return {
    read: async (fence) => {
      guard.touch(fence);
      return stored;
    },
    write: async (value, fence) => {
      guard.touch(fence);
      stored = value;
    },
    peek: async () => stored,
  };
}

/** @param peek reads the value of a key past the guard */
export function redisRegister(redis: FencedRedis, peek: (key: string) => Promise<number>): FencedRegister {
  const key = randomUUID();
  return {
    read: async (fence) => Number((await redis.read(key, fence)) ?? 0),
    write: (value, fence) => redis.write(key, String(value), fence),
    peek: () => peek(key),
  };
}

export async function createRegisterTable({ sql }: OpenedSql): Promise<void> {
  await sql.execute('CREATE TABLE register (id uuid PRIMARY KEY, value integer NOT NULL, fence bigint)');
}

/** A row with a column for its fence. */
export async function rowRegister({ sql }: OpenedSql): Promise<FencedRegister> {
  const id = await newRow(sql);
  const row = { table: 'register', key: { id } };
  return {
    read: async (fence) => (await fencedRead<{ value: number }>(sql, { ...row, fence }))?.value ?? Number.NaN,
    write: async (value, fence) => {
      await fencedUpdate(sql, { ...row, fence, set: { value } });
    },
    peek: () => storedValue(sql, id),
  };
}

/** A row that knows nothing of fences, behind the table of fences. */
export async function touchedRegister({ sql, fences }: OpenedSql): Promise<FencedRegister> {
  const id = await newRow(sql);
  const guarded = <T>(fence: bigint, fn: (tx: SqlTransaction) => Promise<T>): Promise<T> =>
    sql.transaction(async (tx) => {
      await fences.touch(tx, `register:${id}`, fence);
      return fn(tx);
    });
  return {
    read: (fence) => guarded(fence, (tx) => storedValue(tx, id)),
    write: (value, fence) =>
      guarded(fence, async (tx) => {
        await tx.execute('UPDATE register SET value = $1 WHERE id = $2', [value, id]);
      }),
    peek: () => storedValue(sql, id),
  };
}

type Statements = Pick<SqlTransaction, 'query' | 'execute'>;

async function newRow(sql: Statements): Promise<string> {
  const id = randomUUID();
  await sql.execute('INSERT INTO register (id, value) VALUES ($1, 0)', [id]);
  return id;
}

async function storedValue(sql: Statements, id: string): Promise<number> {
  const [row] = await sql.query<{ value: number }>('SELECT value FROM register WHERE id = $1', [id]);
  return row?.value ?? Number.NaN;
}
