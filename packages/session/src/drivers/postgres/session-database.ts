import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs, StoreUnavailableError } from '@lockstep/core';
import { isConflict, isLockTimeout, type MigrationSet, type Sql } from '@lockstep/sql';

export const SESSION_TABLES: MigrationSet = {
  name: 'session',
  directory: new URL('./migrations/postgres/', import.meta.url),
};

/** Others may be in the way for so long. */
const CONTENDED_MS = 1_000;
/** Longest pause before another attempt, so that those who are in each other's way do not stay so. */
const PAUSE_MS = 5;

/** Runs steps on tables that it has seen to. */
export class SessionDatabase {
  constructor(private readonly sql: Sql) {}

  /**
   * @param operation what is attempted, for the error: `session.save`
   * @returns the one row that a step is answered with
   * @throws StoreUnavailableError when there is no answer, or others are in the way for too long
   */
  async step<Row>(operation: string, text: string, params: readonly unknown[]): Promise<Row | undefined> {
    await this.sql.ensureMigrated(SESSION_TABLES);
    const until = monotonicMs() + CONTENDED_MS;
    for (;;) {
      try {
        return (await this.sql.query<Row>(text, params))[0];
      } catch (error) {
        // Either way the step was rolled back, and may be asked for again.
        if (!isConflict(error) && !isLockTimeout(error)) throw error;
        if (monotonicMs() >= until) {
          throw new StoreUnavailableError({ store: 'postgres', operation, outcome: 'not-applied', cause: error });
        }
        await sleep(Math.random() * PAUSE_MS);
      }
    }
  }
}
