import { type Lease, MemoryFence } from '@lockstep/lock';
import type { FencedRedis } from '@lockstep/lock/redis';
import { fencedRead, fencedUpdate, type SqlFences } from '@lockstep/lock/sql';
import type { Sql, SqlTransaction } from '@lockstep/sql';

declare const lease: Lease;
declare const redis: FencedRedis;
declare const sql: Sql;
declare const tx: SqlTransaction;
declare const fences: SqlFences;
/** What a store that cannot promise rising fences gives. */
declare const none: undefined;
declare const maybe: bigint | undefined;

const row = { table: 'account', key: { id: 1 } };

export async function accepted(): Promise<string | undefined> {
  new MemoryFence().touch(lease.fence);
  await fences.touch(tx, 'account:1', lease.fence);
  await fences.touch(sql, 'account:1', lease.fence);
  await fencedUpdate(sql, { ...row, fence: lease.fence, set: { balance: '1' } });
  const account = await fencedRead<{ balance: string }>(tx, { ...row, fence: lease.fence });
  return account?.balance ?? redis.read('account:1', lease.fence);
}

export async function refused(): Promise<void> {
  // @ts-expect-error a lease without a fence guards nothing
  new MemoryFence().touch(none);
  // @ts-expect-error a lease without a fence guards nothing
  await redis.read('account:1', none);
  // @ts-expect-error a fence that may be missing has to be looked at first
  await redis.write('account:1', 'x', maybe);
  // @ts-expect-error a lease without a fence guards nothing
  await redis.delete('account:1', none);
  // @ts-expect-error a lease without a fence guards nothing
  await fences.touch(tx, 'account:1', none);
  // @ts-expect-error a fence that may be missing has to be looked at first
  await fencedRead(tx, { ...row, fence: maybe });
  // @ts-expect-error a lease without a fence guards nothing
  await fencedUpdate(tx, { ...row, fence: none, set: { balance: '1' } });
  // @ts-expect-error a number may have lost its last digits
  await redis.read('account:1', 1);
}
