import { TransactionEndedError } from '../../sql.errors.js';
import type { BeginOptions, SqlSession } from '../../sql-driver.js';
import { asStoreError, type MariaDbConnection } from './mariadb-connection.js';
import type { MariaDbResult } from './mariadb-statement.js';

/** A connection on which each statement is committed at once; see {@link SqlDriver.beginUntransacted}. */
export class ScriptSession implements SqlSession {
  private ended = false;

  constructor(
    private readonly connection: MariaDbConnection,
    private readonly options: BeginOptions,
  ) {}

  async query<Row>(text: string, params: readonly unknown[]): Promise<Row[]> {
    return (await this.run(text, params)).rows as Row[];
  }

  async execute(text: string, params: readonly unknown[]): Promise<number> {
    return (await this.run(text, params)).affected;
  }

  async commit(): Promise<'committed'> {
    this.ended = true;
    this.connection.giveBack();
    return 'committed';
  }

  /** The locks of the session go with it. */
  async rollback(): Promise<void> {
    this.ended = true;
    this.connection.condemn(new Error('the session was given up'));
    this.connection.giveBack();
  }

  private async run(text: string, params: readonly unknown[]): Promise<MariaDbResult> {
    if (this.ended) throw new TransactionEndedError('ended');
    try {
      return await this.connection.run(text, params, this.options.statementTimeoutMs);
    } catch (error) {
      throw asStoreError(error, 'sql.statement', 'unknown');
    }
  }
}
