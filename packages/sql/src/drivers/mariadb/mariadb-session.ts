import type { Incidents } from '@lockstep/core';
import { CommitOutcomeUnknownError, TransactionEndedError } from '../../sql.errors.js';
import type { BeginOptions, IsolationLevel, SqlSession } from '../../sql-driver.js';
import { assertNoImplicitCommit } from './implicit-commit.js';
import { asStoreError, type MariaDbConnection, within } from './mariadb-connection.js';
import { isCommitRefusal, MariaDbConnectionLostError } from './mariadb-errors.js';
import type { MariaDbResult } from './mariadb-statement.js';
import { TransactionGuard } from './transaction-guard.js';

/** One transaction on one connection. open → ended by commit or rollback; the connection goes back in either case. */
export class MariaDbSession implements SqlSession {
  private readonly guard = new TransactionGuard();
  private ended = false;

  private constructor(
    private readonly connection: MariaDbConnection,
    private readonly options: BeginOptions,
    private readonly incidents: Incidents,
  ) {}

  /**
   * Takes the connection over, also when the transaction does not begin.
   *
   * @param isolation to ask for; undefined where it is what the connection has anyway
   */
  static async begin(
    connection: MariaDbConnection,
    isolation: IsolationLevel | undefined,
    options: BeginOptions,
    incidents: Incidents,
  ): Promise<MariaDbSession> {
    try {
      if (isolation !== undefined) {
        const level = `SET TRANSACTION ISOLATION LEVEL ${isolation.toUpperCase()}`;
        await connection.run(level, [], options.commandTimeoutMs);
      }
      await connection.run('START TRANSACTION', [], options.commandTimeoutMs);
    } catch (error) {
      connection.giveBack();
      throw asStoreError(error, 'sql.begin', 'not-applied');
    }
    return new MariaDbSession(connection, options, incidents);
  }

  async query<Row>(text: string, params: readonly unknown[]): Promise<Row[]> {
    return (await this.run(text, params)).rows as Row[];
  }

  async execute(text: string, params: readonly unknown[]): Promise<number> {
    return (await this.run(text, params)).affected;
  }

  async commit(): Promise<'committed' | 'rolled-back'> {
    this.ended = true;
    try {
      await this.connection.inTurn(async (send) => {
        this.guard.assertOpen('COMMIT');
        await send('COMMIT', [], this.options.commitTimeoutMs);
      });
      return 'committed';
    } catch (error) {
      if (this.guard.isRolledBack) return 'rolled-back';
      throw this.notCommitted(error);
    } finally {
      this.connection.giveBack();
    }
  }

  async rollback(): Promise<void> {
    this.ended = true;
    const { commandTimeoutMs } = this.options;
    try {
      // Bounded as a whole: it waits for its turn behind statements that nobody awaits any more.
      if (!this.connection.isLost)
        await within(commandTimeoutMs, this.connection.run('ROLLBACK', [], commandTimeoutMs));
    } catch (cause) {
      this.connection.condemn(cause as Error);
      this.incidents.report({
        code: 'SQL_ROLLBACK_FAILED',
        source: 'sql.mariadb',
        message: 'ROLLBACK got no answer; the connection is closed, and the server rolls back by itself',
        cause,
      });
    } finally {
      this.connection.giveBack();
    }
  }

  private notCommitted(error: unknown): unknown {
    if (error instanceof MariaDbConnectionLostError) return asStoreError(error, 'sql.commit', 'not-applied');
    // Whatever the session still holds is undone when it is closed.
    this.connection.condemn(error as Error);
    return this.guard.isCommitted || isCommitRefusal(error) ? error : new CommitOutcomeUnknownError(error);
  }

  private async run(text: string, params: readonly unknown[]): Promise<MariaDbResult> {
    // The connection may serve another transaction by now.
    if (this.ended) throw new TransactionEndedError('ended');
    assertNoImplicitCommit(text);
    const { statementTimeoutMs, commandTimeoutMs } = this.options;
    try {
      return await this.connection.inTurn((send) =>
        this.guard.run(
          text,
          () => send(text, params, statementTimeoutMs),
          (question) => send(question, [], commandTimeoutMs),
        ),
      );
    } catch (error) {
      // Without COMMIT the server rolls back when the connection goes.
      throw asStoreError(error, 'sql.statement', 'not-applied');
    }
  }
}
