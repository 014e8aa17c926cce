import { StoreUnavailableError } from '@lockstep/core';
import type { MigrationSet, Sql } from '@lockstep/sql';
import { isConflict, isLockTimeout } from './sql-conflicts.js';

export const SESSION_TABLES: MigrationSet = {
  name: 'session',
  directory: new URL('./migrations/postgres/', import.meta.url),
};

/** Beyond it a conflict is no bad luck any more. */
const MOST_CONFLICTS = 10;
/** Each has cost its caller most of a second. */
const MOST_LOCK_TIMEOUTS = 2;

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
    let [conflicts, lockTimeouts] = [0, 0];
    for (;;) {
      try {
        return (await this.sql.query<Row>(text, params))[0];
      } catch (error) {
        if (isConflict(error)) conflicts += 1;
        else if (isLockTimeout(error)) lockTimeouts += 1;
        else throw error;
        if (conflicts < MOST_CONFLICTS && lockTimeouts < MOST_LOCK_TIMEOUTS) continue;
        throw new StoreUnavailableError({ store: 'postgres', operation, outcome: 'not-applied', cause: error });
      }
    }
  }
}
