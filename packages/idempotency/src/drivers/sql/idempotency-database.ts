import { monotonicMs, ServerClock, StoreUnavailableError } from '@lockstep/core';
import { isConflict, isLockTimeout, type MigrationSet, type Sql } from '@lockstep/sql';
import type { IdempotencyTable, Timed } from './idempotency-table.js';

/** Beyond it a conflict is no bad luck any more. */
const MOST_ATTEMPTS = 10;

export function idempotencyTables(sql: Pick<Sql, 'dialect'>): MigrationSet {
  return { name: 'idempotency', directory: new URL(`./migrations/${sql.dialect}/`, import.meta.url) };
}

/** Runs steps on tables that it has seen to, and knows what time it is at the database. */
export class IdempotencyDatabase {
  private readonly clock = new ServerClock();
  private sampling: Promise<void> | undefined;

  constructor(
    private readonly sql: Sql,
    private readonly table: IdempotencyTable,
  ) {}

  /**
   * @param operation what is attempted, for the error: `idempotency.settle`
   * @throws StoreUnavailableError when there is no answer, or others are in the way for too long
   */
  async step<T>(operation: string, run: (table: IdempotencyTable) => Promise<T>): Promise<T> {
    await this.prepare();
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await run(this.table);
      } catch (error) {
        if (isConflict(error) && attempt < MOST_ATTEMPTS) continue;
        if (!isConflict(error) && !isLockTimeout(error)) throw error;
        const store = this.sql.dialect;
        throw new StoreUnavailableError({ store, operation, outcome: 'not-applied', cause: error });
      }
    }
  }

  /** A {@link step} that tells what time it was at the database. */
  async timedStep<T>(operation: string, run: (table: IdempotencyTable) => Promise<Timed<T>>): Promise<T> {
    const { answer } = await this.step(operation, (table) => this.timed(() => run(table)));
    return answer;
  }

  /** The latest time, by the database's clock, that it can be `withinMs` from now. Call it within a step. */
  notAfterMs(withinMs: number): number {
    return Math.ceil(this.clock.nowMs() + this.clock.errorBoundMs() + withinMs);
  }

  private async prepare(): Promise<void> {
    await this.sql.ensureMigrated(idempotencyTables(this.sql));
    if (Number.isFinite(this.clock.errorBoundMs())) return;
    this.sampling ??= this.sample().finally(() => {
      this.sampling = undefined;
    });
    await this.sampling;
  }

  private async sample(): Promise<void> {
    await this.timed(async () => ({ answer: undefined, clockMs: await this.table.clock() }));
  }

  private async timed<T>(run: () => Promise<Timed<T>>): Promise<Timed<T>> {
    const sentAt = monotonicMs();
    const timed = await run();
    this.clock.sample(timed.clockMs, sentAt, monotonicMs());
    return timed;
  }
}
