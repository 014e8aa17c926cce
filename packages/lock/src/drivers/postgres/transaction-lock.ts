import { type Duration, durationMs, monotonicMs } from '@lockstep/core';
import { type SqlTransaction, TransactionMisuseError } from '@lockstep/sql';
import { LockBusyError } from '../../lock.errors.js';
import { assertLockKey } from '../../lock-key.js';
import { transactionTryStatement, transactionWaitStatement } from './lock-statements.js';

export interface TransactionLockOptions {
  /**
   * How long to wait for others; 0 asks once. Must be less than what the transaction allows a statement.
   * @default '5s'
   */
  readonly wait?: Duration;
  /**
   * Whether others that share may hold the key too.
   * @default false
   */
  readonly shared?: boolean;
}

export interface TransactionLock {
  /** Greater than that of every earlier holder of the key. */
  readonly fence: bigint;
}

interface FenceRow {
  /** Whether the next statement sees what the last holder committed. */
  readonly fresh: boolean;
  readonly fence: string | null;
}

const WAIT = { minMs: 0, maxMs: 86_400_000 };
const LOCK_NOT_AVAILABLE = '55P03';

/** See {@link PostgresLockStore.lockInTransaction}. */
export async function lockTransaction(
  tx: SqlTransaction,
  name: string,
  keyOf: (key: string) => bigint,
  { wait = '5s', shared = false }: TransactionLockOptions = {},
): Promise<TransactionLock> {
  assertLockKey(name);
  const waitMs = durationMs(wait, 'wait', WAIT);
  const key = keyOf(name).toString();
  const startedAt = monotonicMs();
  const rows = waitMs === 0 ? await tx.query<FenceRow>(transactionTryStatement(shared), [key]) : await waitIn(tx);
  if (rows[0]?.fresh === false) {
    throw new TransactionMisuseError(
      'A lock in a transaction needs READ COMMITTED: at any higher isolation the transaction goes on to see what was there ' +
        'before it got the lock. Take a lease around the transaction instead.',
    );
  }
  const fence = rows[0]?.fence ?? undefined;
  if (fence === undefined) throw new LockBusyError(name, monotonicMs() - startedAt, 0);
  return { fence: BigInt(fence) };

  async function waitIn(transaction: SqlTransaction): Promise<readonly FenceRow[]> {
    if (!transaction.savepoint) {
      throw new TransactionMisuseError(
        'The open transaction offers no savepoints, so a wait that ends would end it too; ask with `wait: 0`.',
      );
    }
    const values = [key, String(waitMs)];
    try {
      // Without one, the end of the wait would be the end of the transaction.
      return await transaction.savepoint(() => transaction.query<FenceRow>(transactionWaitStatement(shared), values));
    } catch (error) {
      if ((error as { readonly code?: unknown } | null)?.code === LOCK_NOT_AVAILABLE) return [];
      throw error;
    }
  }
}
