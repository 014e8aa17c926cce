import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkpoint, monotonicMs } from '@lockstep/core';
import { type Sql, type SqlTransaction, TransactionMisuseError } from '@lockstep/sql';
import { OperationContendedError } from '../../idempotency.errors.js';
import type {
  TransactionalOutcome,
  TransactionalRequest,
  TransactionalRun,
  TransactionalStore,
  TransactionalWork,
} from '../../store-abilities.js';
import { idempotencyTables } from './idempotency-database.js';
import { isSerializationFailure } from './transactional-failures.js';
import { MariaDbTransactionalTable } from './transactional-mariadb.js';
import { PostgresTransactionalTable } from './transactional-postgres.js';
import { ClaimTimeout, type Refusal, type TransactionalTable } from './transactional-table.js';
import { TransactionalTurns } from './transactional-turns.js';

/** How often the work may run in favour of others before the caller is told. */
const MOST_RUNS = 3;
/** Claims that fail so cost nothing, and each one means that somebody else has committed. */
const MOST_CONFLICTS = 20;
/** Of one wait at the server, shorter than a statement may take; then the next one begins. */
const LONGEST_WAIT_MS = 2_000;
const PAUSE_MS = 20;

type Work<T> = (run: TransactionalRun) => Promise<TransactionalWork<T>>;
type Executed<T> = { readonly outcome: 'executed'; readonly work: TransactionalWork<T> };

/**
 * {@link TransactionalStore} on the database of `SqlModule`, in the table of the store with leases.
 *
 * ```
 * free --gate, claim--> claimed --work--> done --answer recorded--> COMMIT --known--> executed
 *                       claimed --work throws--> ROLLBACK, free
 *                       claimed, done, COMMIT --not serializable, deadlock--> ROLLBACK, again in a new transaction
 *                                                              COMMIT --answer lost--> executed, or free
 * ```
 */
export class SqlTransactionalStore implements TransactionalStore {
  private readonly turns = new TransactionalTurns<Refusal>();
  private readonly table: TransactionalTable;

  constructor(private readonly sql: Sql) {
    this.table = sql.dialect === 'mariadb' ? new MariaDbTransactionalTable() : new PostgresTransactionalTable();
  }

  async transact<T>(request: TransactionalRequest, work: Work<T>): Promise<TransactionalOutcome<T>> {
    this.assertOutermost();
    const until = monotonicMs() + request.waitMs;
    const { id, fingerprint, signal } = request;
    const outcome = await this.turns.take({
      id,
      fingerprint,
      until,
      signal,
      lead: () => this.lead(request, until, work),
      leave: leftBy,
    });
    if (outcome === 'late') return { outcome: 'busy' };
    if (outcome === 'other-payload') return { outcome: 'mismatch' };
    return outcome.outcome === 'executed' ? { outcome: 'executed', value: outcome.work.value } : outcome;
  }

  /** Joined, it would hand out an answer that the outer transaction has yet to commit, and may still take back. */
  private assertOutermost(): void {
    if (!this.sql.current()) return;
    throw new TransactionMisuseError(
      'An idempotent operation in one transaction begins and commits that transaction itself, but one is open already. ' +
        'Call it outside of it.',
    );
  }

  private async lead<T>(request: TransactionalRequest, until: number, work: Work<T>): Promise<Executed<T> | Refusal> {
    await this.sql.ensureMigrated(idempotencyTables(this.sql));
    let runs = 0;
    const counted: Work<T> = (run) => {
      runs += 1;
      return work({ ...run, recovered: run.recovered || runs > 1 });
    };
    for (let conflicts = 1; ; ) {
      const waitMs = Math.max(0, Math.min(until - monotonicMs(), LONGEST_WAIT_MS));
      try {
        return await this.attempt({ ...request, waitMs }, counted);
      } catch (error) {
        if (error instanceof ClaimTimeout) {
          if (request.signal?.aborted || monotonicMs() >= until) return { outcome: 'busy' };
          continue;
        }
        if (!isSerializationFailure(error)) throw error;
        if (runs >= MOST_RUNS || conflicts >= MOST_CONFLICTS) {
          throw new OperationContendedError(request.operation, runs, error);
        }
        conflicts += 1;
        // So that two who have fallen over each other do not do it again in step.
        await sleep(randomInt(PAUSE_MS * runs + 1));
      }
    }
  }

  private attempt<T>(request: TransactionalRequest, work: Work<T>): Promise<Executed<T> | Refusal> {
    const { isolation } = request;
    return this.sql.transaction(
      async (tx): Promise<Executed<T> | Refusal> => {
        const claim = await this.table.claim(tx, request);
        if (claim.outcome !== 'claimed') return claim;
        const done = await workIn(tx, () => work(claim));
        checkpoint('idempotency.executed');
        await this.record(tx, request, done.response);
        return { outcome: 'executed', work: done };
      },
      isolation === undefined ? {} : { isolation },
    );
  }

  private async record(tx: SqlTransaction, request: TransactionalRequest, response?: string): Promise<void> {
    const isKept =
      response === undefined
        ? await this.table.leaveUncertain(tx, request)
        : await this.table.complete(tx, request, response);
    if (isKept) return;
    throw new TransactionMisuseError('The claim of an idempotent operation was removed by its own transaction.');
  }
}

/** In a savepoint, so that a refusal undoes what was done and the claim stays. */
async function workIn<T>(tx: SqlTransaction, work: () => Promise<TransactionalWork<T>>): Promise<TransactionalWork<T>> {
  if (!tx.savepoint) throw new TransactionMisuseError('The transaction of the operation offers no savepoints.');
  const undone = new Undone<T>();
  try {
    return await tx.savepoint(async () => {
      const done = await work();
      if (done.effects === 'keep') return done;
      undone.work = done;
      throw undone;
    });
  } catch (error) {
    if (error === undone && undone.work) return undone.work;
    throw error;
  }
}

/** Makes the savepoint roll back; never leaves this file. */
class Undone<T> extends Error {
  work: TransactionalWork<T> | undefined;
}

/** The outcome is committed and the payload the same, so whoever waited need not ask the database. */
function leftBy(outcome: Executed<unknown> | Refusal): Refusal | undefined {
  if (outcome.outcome === 'executed') {
    const { response } = outcome.work;
    return response === undefined ? { outcome: 'uncertain' } : { outcome: 'completed', response };
  }
  // Busy only for so long as the leader was ready to wait.
  return outcome.outcome === 'busy' ? undefined : outcome;
}
