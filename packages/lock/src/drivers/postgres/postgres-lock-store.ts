import { ConfigurationError, type DriverProvider, Incidents, StoreUnavailableError } from '@lockstep/core';
import { type MigrationSet, Sql, type SqlTransaction } from '@lockstep/sql';
import type {
  AcquireRequest,
  Busy,
  ExtendOutcome,
  ExtendRequest,
  Grant,
  LockState,
  LockStore,
  ReleaseOutcome,
  ReleaseRequest,
} from '../../lock-store.js';
import { HeldLocks } from './held-locks.js';
import { LockKeeper } from './lock-keeper.js';
import { LockOperator } from './lock-operator.js';
import { LockSessions } from './lock-sessions.js';
import { LockWaiters } from './lock-waiters.js';
import { BUSY, LockWish } from './lock-wish.js';
import {
  type PostgresLockFactory,
  type PostgresLockOptions,
  type ResolvedPostgresLockOptions,
  resolvePostgresLockOptions,
} from './postgres-lock.options.js';
import { lockTransaction, type TransactionLock, type TransactionLockOptions } from './transaction-lock.js';

const MIGRATIONS: MigrationSet = { name: 'lock', directory: new URL('./migrations/', import.meta.url) };

/** While a statement runs, VACUUM of the whole database keeps the rows that were deleted since it began. */
const LONGEST_STATEMENT_MS = 60_000;

/**
 * Advisory locks of Postgres 14 or later, on connections of the store's own. `SqlModule` makes the sequence of the fences
 * in the same database.
 *
 * @throws ConfigurationError naming the option and its value; at boot, where `SqlModule` is not imported
 */
export function postgresLockStore(options: PostgresLockOptions | PostgresLockFactory): DriverProvider<LockStore> {
  const factory: PostgresLockFactory = 'useFactory' in options ? options : { useFactory: () => options };
  return {
    // Optional, because Nest's own message names symbols and no module.
    inject: [{ token: Sql, optional: true }, Incidents, ...(factory.inject ?? [])],
    useFactory: async (sql: Sql | undefined, incidents: Incidents, ...dependencies: unknown[]) => {
      if (sql?.dialect !== 'postgres') {
        throw new ConfigurationError('postgresLockStore() needs SqlModule.forRoot(…) with pgDriver among the imports.');
      }
      const resolved = await resolvePostgresLockOptions(await factory.useFactory(...dependencies));
      await sql.migrateAtBoot(MIGRATIONS);
      return new PostgresLockStore(sql, incidents, resolved);
    },
  };
}

/**
 * One session carries all locks that were free when they were asked for; those who wait have sessions of their own. A
 * lock lasts as long as the session that carries it: leases end by loss of the session, not by the clock.
 *
 * The server keeps the order of those who wait. One who waits for more than 60 s asks again each time, behind those who
 * came meanwhile, for a statement without end would keep VACUUM from its work.
 */
export class PostgresLockStore implements LockStore {
  readonly name = 'postgres';
  readonly abilities = { expires: false, shares: 'readers', queues: true } as const;
  private readonly sessions: LockSessions;
  private readonly keeper: LockKeeper;
  private readonly waiters: LockWaiters;
  private readonly operator: LockOperator;
  private readonly wishes = new Set<LockWish>();
  private isClosed = false;

  constructor(
    private readonly sql: Sql,
    incidents: Incidents,
    private readonly options: ResolvedPostgresLockOptions,
  ) {
    const { commandTimeoutMs, waiters: most } = options;
    const held = new HeldLocks();
    this.sessions = new LockSessions({
      ...options,
      incidents,
      onEnd: (session) => {
        held.loseAll(session);
        this.waiters.serve();
      },
      onAsked: (payload) => this.operator.answer(payload),
    });
    const { sessions } = this;
    this.keeper = new LockKeeper({
      sessions,
      held,
      commandTimeoutMs,
      hasQueued: (key) => this.waiters.hasQueued(key),
      onFree: (key) => this.waiters.serve(key),
    });
    const { keeper } = this;
    this.waiters = new LockWaiters({
      sessions,
      incidents,
      commandTimeoutMs,
      longestStatementMs: LONGEST_STATEMENT_MS,
      most,
      attempt: (wish) => keeper.take(wish, false),
      grant: (wish, session, fence, deadline) => keeper.grant(wish, session, fence, deadline),
    });
    this.operator = new LockOperator({ sessions, held, keeper, commandTimeoutMs, incidents });
  }

  acquire(request: AcquireRequest): Promise<Grant | Busy> {
    const { signal } = request;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const wish = new LockWish(this.options.keyOf(request.key), request);
    if (!signal) return this.follow(wish);
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        wish.giveUp();
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      const settle = (outcome: Grant | Busy): void => {
        // A signal may abort between the grant and this line; then the grant has no taker.
        if (wish.isGivenUp && outcome.status === 'granted') void this.keeper.release(wish.key, request.token);
        resolve(outcome);
      };
      this.follow(wish)
        .finally(() => signal.removeEventListener('abort', abort))
        .then(settle, reject);
    });
  }

  extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]> {
    const keys = requests.map(({ key }) => this.options.keyOf(key));
    return this.keeper.extend(requests, keys);
  }

  async release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]> {
    return Promise.all(
      requests.map(async ({ key, token }) => {
        const lock = this.options.keyOf(key);
        const outcome = await this.keeper.release(lock, token);
        return outcome.status === 'not-held' ? this.operator.takeAway(lock, token) : outcome;
      }),
    );
  }

  inspect(key: string): Promise<LockState> {
    return this.operator.inspect(this.options.keyOf(key));
  }

  /**
   * Takes the lock in a transaction of the caller, on its connection: the database gives it back right after the commit
   * or the rollback, so whoever comes next sees what was written. It excludes, and is excluded by, all others of the key.
   * Asked for again in the same transaction it is granted again.
   *
   * The transaction must be READ COMMITTED: one of REPEATABLE READ or SERIALIZABLE would see, under the lock, the rows of
   * before the wait.
   *
   * @throws LockBusyError when somebody else still holds it; the transaction lives on
   * @throws TransactionMisuseError at any other isolation, with nothing locked; when `wait` is not 0 and the transaction
   * has no savepoints
   * @throws LockKeyError before anything is sent
   */
  async lockInTransaction(tx: SqlTransaction, key: string, options?: TransactionLockOptions): Promise<TransactionLock> {
    await this.sql.ensureMigrated(MIGRATIONS);
    return lockTransaction(tx, key, this.options.keyOf, options);
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const wish of this.wishes) wish.giveUp();
    await this.waiters.close();
    await this.sessions.close();
  }

  private async follow(wish: LockWish): Promise<Grant | Busy> {
    this.wishes.add(wish);
    try {
      const outcome = await this.pursue(wish);
      if (!wish.isGivenUp) return outcome;
      // Nobody awaits it any more.
      if (outcome.status === 'granted') await this.keeper.release(wish.key, wish.request.token);
      return BUSY;
    } finally {
      this.wishes.delete(wish);
    }
  }

  private async pursue(wish: LockWish): Promise<Grant | Busy> {
    if (this.isClosed) throw closed();
    await this.sql.ensureMigrated(MIGRATIONS);
    const first = await this.keeper.take(wish, true);
    return first.status === 'granted' || wish.isOver ? first : this.waiters.wait(wish);
  }
}

function closed(): StoreUnavailableError {
  const cause = new Error('the lock store is closed');
  return new StoreUnavailableError({ store: 'postgres', operation: 'lock.acquire', outcome: 'not-applied', cause });
}
