import { ConfigurationError, type Incidents, monotonicMs } from '@lockstep/core';
import {
  asStoreError,
  endsConnection,
  PgConnectionLostError,
  PgTimeoutError,
  StatementQueue,
  within,
} from '@lockstep/sql/postgres';
import type { HeldLock } from './held-locks.js';
import type { LockClient } from './lock-client.js';
import { CONFIGURE, type OperationKind, operateStatement } from './lock-statements.js';
import { type Operation, type OperationAnswer, OperationBatch, UNDO } from './operation-batch.js';
import { SessionPulse } from './session-pulse.js';
import { FIRST_COVER_MS, halfOpenSettings, longestSilenceMs } from './session-settings.js';

export interface SessionIdentity {
  readonly pid: number;
  /** When its backend began, so that a later one with the same pid is not taken for it. */
  readonly started: string;
}

export interface SessionHost {
  readonly commandTimeoutMs: number;
  readonly incidents: Incidents;
  /** Called once, when its connection is gone and its locks with it. */
  onEnd(session: LockSession): void;
}

/**
 * One connection and the locks that it carries.
 *
 * ```
 * open --no answer in time--> retired: takes no new locks, ends when the last that it carries is given back
 * open | retired --error | end of the connection | answer of another backend--> ended: all its locks are lost
 * ```
 */
export class LockSession {
  readonly holds = new Set<HeldLock>();
  /** Whether a statement of it waits for a lock, or something still goes on about that statement. */
  isWaiting = false;
  private readonly queue = new StatementQueue();
  private readonly covering = new StatementQueue();
  private readonly batch = new OperationBatch({
    send: (operations) => this.send(operations),
    isFinal: (error) => this.isEnded || endsConnection(error) || error instanceof ConfigurationError,
    abandon: (cause) => this.abandon(cause),
  });
  private readonly pulse = new SessionPulse(() => this.beat());
  private failure: Error | undefined;
  private isRetired = false;
  private coveredMs = FIRST_COVER_MS;

  constructor(
    private readonly client: LockClient,
    readonly identity: SessionIdentity,
    private readonly host: SessionHost,
  ) {
    client.on('error', (error) => this.lose(error));
    client.on('end', () => this.lose(new Error('the connection was closed')));
    this.pulse.start(longestSilenceMs(FIRST_COVER_MS));
  }

  get isEnded(): boolean {
    return this.failure !== undefined;
  }

  /** Whether new locks may be taken by it. */
  get isOpen(): boolean {
    return !this.isEnded && !this.isRetired;
  }

  /**
   * Does `kind` to `key`, in one statement with others that are asked for meanwhile.
   *
   * @throws StoreUnavailableError when there is no answer in time; a lock that is granted after that is given back
   */
  async operate(kind: OperationKind, key: bigint, purpose: string): Promise<OperationAnswer> {
    const answer = this.batch.add(kind, key);
    this.sendBatch();
    try {
      return await within(this.host.commandTimeoutMs, answer);
    } catch (error) {
      if (!(error instanceof PgTimeoutError)) throw asStoreError(error, purpose, 'not-applied');
      this.giveBackLate(kind, key, answer);
      this.retire();
      throw asStoreError(error, purpose, 'unknown');
    }
  }

  /**
   * One statement by itself; rejects with what `pg` threw, or `PgTimeoutError`.
   *
   * @param onSent called when those before it are answered and it is on its way
   */
  async query<Row>(
    text: string,
    values: readonly unknown[],
    timeoutMs = this.host.commandTimeoutMs,
    onSent: () => void = noAnswer,
  ): Promise<Row[]> {
    const statement = (): Promise<Row[]> => {
      const rows = this.execute<Row>({ text, values: [...values] });
      onSent();
      return rows;
    };
    return within(timeoutMs, this.queue.add(statement));
  }

  /**
   * Sees to it that the server keeps a session whose client it does not hear for as long as the longest of its leases: a
   * lease must not last longer than its lock.
   */
  async cover(ttlMs: number): Promise<void> {
    if (ttlMs > this.coveredMs) await this.covering.add(() => this.coverNow(ttlMs));
  }

  /** @throws ConfigurationError when a statement was answered by another backend than the session's own */
  assertBackend(pid: number): void {
    if (pid !== this.identity.pid) throw this.refusePooler();
  }

  /** It does not answer, or not in time: for new locks there will be another. */
  retire(): void {
    this.isRetired = true;
    this.endIfIdle();
  }

  /** A retired session is of no use without locks. */
  endIfIdle(): void {
    if (this.isRetired && this.holds.size === 0) void this.end();
  }

  /** Closes the connection; the server gives its locks back when it learns of that. Never rejects. */
  async end(): Promise<void> {
    this.finish(new Error('the session was ended'));
    try {
      await within(this.host.commandTimeoutMs, this.client.end());
    } catch {
      // Whoever does not answer a farewell is left without one.
      this.client.connection?.stream?.destroy();
    }
  }

  /** One after the other, or a shorter one that is sent later would have the last word. */
  private async coverNow(ttlMs: number): Promise<void> {
    if (ttlMs <= this.coveredMs) return;
    const settings = halfOpenSettings(ttlMs);
    try {
      await this.query(CONFIGURE, [Object.keys(settings), Object.values(settings)]);
    } catch (error) {
      if (error instanceof PgTimeoutError) this.retire();
      throw asStoreError(error, 'lock.configure', 'not-applied');
    }
    this.coveredMs = ttlMs;
    this.pulse.start(longestSilenceMs(ttlMs));
  }

  private beat(): void {
    // A wait is no silence, and nothing can be sent before its end. Who needs the session next learns of a failure.
    if (!this.isWaiting) this.operate('ping', 0n, 'lock.extend').catch(noAnswer);
  }

  private sendBatch(): void {
    this.queue.add(() => this.batch.flush()).catch((error: unknown) => this.finish(error as Error));
  }

  private async send(operations: readonly Operation[]): Promise<readonly OperationAnswer[]> {
    const kinds = operations.map(({ kind }) => kind);
    const values = [kinds, operations.map(({ key }) => key.toString())];
    const sentAt = monotonicMs();
    const rows = await this.execute<{ pid: number; answer: string | null }>({
      ...operateStatement(kinds),
      values,
    });
    for (const { pid } of rows) this.assertBackend(pid);
    return rows.map(({ answer }) => ({ answer, sentAt }));
  }

  private async execute<Row>(statement: { name?: string; text: string; values: unknown[] }): Promise<Row[]> {
    if (this.failure) throw new PgConnectionLostError(this.failure);
    this.pulse.note();
    try {
      return (await this.client.query(statement)).rows as Row[];
    } catch (error) {
      if (endsConnection(error)) this.lose(error);
      throw isOfAnotherBackend(error) ? this.refusePooler() : error;
    }
  }

  private refusePooler(): ConfigurationError {
    const error = new ConfigurationError(
      'postgresLockStore is connected through a pooler that runs the statements of one session on several backends, ' +
        'where a lock has no owner. Give it the URL of Postgres itself.',
    );
    this.finish(error);
    void this.end();
    return error;
  }

  private giveBackLate(kind: OperationKind, key: bigint, answer: Promise<OperationAnswer>): void {
    const undo = (late: OperationAnswer): void => {
      if ((kind !== 'take' && kind !== 'take-shared') || late.answer === null || this.isEnded) return;
      void this.batch.add(UNDO[kind], key).catch(noAnswer);
      this.sendBatch();
    };
    answer.then(undo, noAnswer);
  }

  private abandon(cause: unknown): void {
    this.lose(
      cause as Error,
      'a lock could not be given back, so its session is ended; all locks that it carried are lost',
    );
    void this.end();
  }

  private lose(
    cause: Error,
    message = 'the server ended a session, or the connection to it broke; the locks that it carried are lost',
  ): void {
    if (this.failure) return;
    const locks = this.holds.size;
    this.finish(cause);
    this.host.incidents.report({
      code: 'LOCK_SESSION_LOST',
      source: 'lock.postgres',
      message,
      cause,
      fields: { locks },
    });
  }

  private finish(error: Error): void {
    if (this.failure) return;
    this.failure = error;
    this.pulse.stop();
    this.batch.fail(new PgConnectionLostError(error));
    this.host.onEnd(this);
  }
}

/** There is nothing left to do or to tell, as when the session has ended and the server frees what it had. */
function noAnswer(): void {}

/** A statement that this session has prepared is not known: it was prepared on another backend. */
function isOfAnotherBackend(error: unknown): boolean {
  return error instanceof Error && (error as { readonly code?: unknown }).code === '26000';
}
