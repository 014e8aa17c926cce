import type { Incidents } from '@lockstep/core';
import { CommitOutcomeUnknownError, TransactionEndedError } from '../../sql.errors.js';
import type { BeginOptions, SqlSession, Statement } from '../../sql-driver.js';
import { inlineParameters } from './inline-parameters.js';
import type { PgResult } from './pg-client.js';
import { asStoreError, type PgConnection, type PgSender, within } from './pg-connection.js';
import { isCommitRefusal, PgConnectionLostError } from './pg-errors.js';

/** What every statement is answered once one has failed. */
const IN_FAILED_TRANSACTION = '25P02';

/** What a savepoint is answered where no transaction is open. */
const NO_TRANSACTION = '25P01';

/** Changes nothing in a transaction in which statements are taken, and is refused everywhere else. */
const PROBE = 'SAVEPOINT lockstep_begun; RELEASE SAVEPOINT lockstep_begun';

/** Characters of statements in one round trip with BEGIN or COMMIT; what takes the server longer is better sent on its own. */
const MOST_TOGETHER = 100_000;

/**
 * One transaction on one connection, which goes back when it ends.
 * ```
 * open --commit | rollback--> ended
 * not begun --first statement--> open
 *           --commit | rollback: nothing is sent--> ended
 * ```
 */
export class PostgresSession implements SqlSession {
  private ended = false;
  /** From when BEGIN is sent. */
  private begun = false;

  private constructor(
    private readonly connection: PgConnection,
    private readonly options: BeginOptions,
    private readonly incidents: Incidents,
  ) {}

  /** Takes the connection over, also when BEGIN fails. Sends nothing where BEGIN is to come with the first statement. */
  static async begin(connection: PgConnection, options: BeginOptions, incidents: Incidents): Promise<PostgresSession> {
    const session = new PostgresSession(connection, options, incidents);
    if (options.withFirstStatement) return session;
    try {
      await connection.run(session.takeBegin(), [], options.commandTimeoutMs);
    } catch (error) {
      connection.giveBack();
      throw asStoreError(error, 'sql.begin', 'not-applied');
    }
    return session;
  }

  async query<Row>(text: string, params: readonly unknown[]): Promise<Row[]> {
    return (await this.run(text, params)).rows as Row[];
  }

  async execute(text: string, params: readonly unknown[]): Promise<number> {
    return (await this.run(text, params)).rowCount ?? 0;
  }

  commit(): Promise<'committed' | 'rolled-back'> {
    return this.end([]);
  }

  async commitAfter(last: readonly Statement[]): Promise<'committed' | 'rolled-back'> {
    const texts = last.map(({ text, params }) => inlineParameters(text, params)).filter((text) => text !== undefined);
    const length = texts.reduce((sum, text) => sum + text.length, 0);
    if (texts.length === last.length && length <= MOST_TOGETHER) return this.end(texts);
    try {
      for (const { text, params } of last) await this.run(text, params);
    } catch (error) {
      await this.rollback();
      throw error;
    }
    return this.end([]);
  }

  async rollback(): Promise<void> {
    this.ended = true;
    if (!this.begun) return this.connection.giveBack();
    const { commandTimeoutMs } = this.options;
    try {
      // Bounded as a whole: it waits for its turn behind statements that nobody awaits any more.
      if (!this.connection.isLost)
        await within(commandTimeoutMs, this.connection.run('ROLLBACK', [], commandTimeoutMs));
    } catch (cause) {
      this.connection.condemn(cause as Error);
      this.incidents.report({
        code: 'SQL_ROLLBACK_FAILED',
        source: 'sql.postgres',
        message: 'ROLLBACK got no answer; the connection is closed, and the server rolls back by itself',
        cause,
      });
    } finally {
      this.connection.giveBack();
    }
  }

  /** The server leaves out COMMIT when a statement before it fails. */
  private async end(last: readonly string[]): Promise<'committed' | 'rolled-back'> {
    this.ended = true;
    if (!this.begun && last.length === 0) {
      this.connection.giveBack();
      return 'committed';
    }
    const { statementTimeoutMs, commitTimeoutMs } = this.options;
    // A statement may have to wait for the locks of others, and giving up before COMMIT was reached means not knowing.
    const timeoutMs = last.length > 0 ? statementTimeoutMs + commitTimeoutMs : commitTimeoutMs;
    try {
      const script = [...(this.begun ? [] : [this.takeBegin()]), ...last, 'COMMIT'].join('; ');
      const { command } = await this.connection.run(script, [], timeoutMs);
      this.connection.giveBack();
      // After a failed statement Postgres answers COMMIT with success and the tag ROLLBACK.
      return command === 'COMMIT' ? 'committed' : 'rolled-back';
    } catch (error) {
      const isRefused = isCommitRefusal(error) || (last.length > 0 && (await this.isInFailedTransaction()));
      // It is still open where one of the statements failed.
      if (last.length > 0) await this.rollback();
      else this.connection.giveBack();
      if (error instanceof PgConnectionLostError) throw asStoreError(error, 'sql.commit', 'not-applied');
      throw isRefused ? error : new CommitOutcomeUnknownError(error);
    }
  }

  /** Where it is, COMMIT was not executed. */
  private async isInFailedTransaction(): Promise<boolean> {
    if (this.connection.isLost) return false;
    try {
      await this.connection.run('SELECT 1', [], this.options.commandTimeoutMs);
      return false;
    } catch (error) {
      return (error as { readonly code?: unknown }).code === IN_FAILED_TRANSACTION;
    }
  }

  private async run(text: string, params: readonly unknown[]): Promise<PgResult> {
    // The connection may serve another transaction by now.
    if (this.ended) throw new TransactionEndedError('ended');
    try {
      if (!this.begun) return await this.runFirst(this.takeBegin(), text, params);
      return await this.connection.run(text, params, this.options.statementTimeoutMs);
    } catch (error) {
      // Without COMMIT the server rolls back when the connection goes.
      throw asStoreError(error, 'sql.statement', 'not-applied');
    }
  }

  private takeBegin(): string {
    this.begun = true;
    const { isolation } = this.options;
    return isolation === undefined ? 'BEGIN' : `BEGIN ISOLATION LEVEL ${isolation.toUpperCase()}`;
  }

  /** In one turn: what others have sent meanwhile would be committed at once where nothing has begun. */
  private runFirst(begin: string, text: string, params: readonly unknown[]): Promise<PgResult> {
    const { statementTimeoutMs } = this.options;
    const inlined = inlineParameters(text, params);
    return this.connection.inTurn(async (send) => {
      if (inlined === undefined || inlined.length > MOST_TOGETHER) {
        await this.sendBegin(send, begin);
        return send(text, params, statementTimeoutMs);
      }
      try {
        return await send(`${begin}; ${inlined}`, [], statementTimeoutMs);
      } catch (error) {
        // A text that cannot be parsed is refused as a whole, and BEGIN with it.
        if (await this.hasBegun(send)) throw error;
        await this.sendBegin(send, begin);
        return send(text, params, statementTimeoutMs);
      }
    });
  }

  private async sendBegin(send: PgSender, begin: string): Promise<void> {
    try {
      await send(begin, [], this.options.commandTimeoutMs);
    } catch (error) {
      // What came after it would be committed at once.
      this.connection.condemn(error as Error);
      throw error;
    }
  }

  /** True also where it cannot be known, because nothing is sent over that connection any more. */
  private async hasBegun(send: PgSender): Promise<boolean> {
    if (this.connection.isLost) return true;
    try {
      await send(PROBE, [], this.options.commandTimeoutMs);
    } catch (error) {
      const { code } = error as { readonly code?: unknown };
      if (code === NO_TRANSACTION) return false;
      if (code !== IN_FAILED_TRANSACTION) this.connection.condemn(error as Error);
    }
    return true;
  }
}
