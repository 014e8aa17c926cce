import { ConfigurationError, DrainService, durationMs, Incidents, PeriodicTask } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { type ResolvedSqlOptions, SQL_OPTIONS } from '../sql.options.js';
import { Sql } from '../sql.service.js';
import type { SqlTransaction } from '../sql-transaction.js';
import { INBOX_STATEMENTS, type InboxStatements } from './inbox-statements.js';
import { messageDay } from './message-day.js';

const CONSUMER = /^[A-Za-z0-9_.:/-]{1,200}$/;
const PURGE_BATCH = 1_000;

interface ReceivedRow {
  readonly id: string;
  /** Where the statement gives those of the others as well. */
  readonly copies?: number;
}

/**
 * Remembers which messages took effect, so that a copy of one does nothing. The memory is part of the transaction of the
 * effect: both are there or neither is.
 */
@Injectable()
export class Inbox implements OnApplicationBootstrap {
  /** Milliseconds from when a message was received to when a copy of it takes effect again: `inboxRetention`. */
  readonly retentionMs: number;
  private readonly reaper: PeriodicTask;
  private readonly statements: InboxStatements;
  private prepared = false;

  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(SQL_OPTIONS) options: ResolvedSqlOptions,
    @Inject(Incidents) incidents: Incidents,
    @Inject(DrainService) drains: DrainService,
  ) {
    this.retentionMs = options.inboxRetentionMs;
    this.statements = INBOX_STATEMENTS[sql.dialect];
    this.reaper = new PeriodicTask({
      name: 'inbox purge',
      everyMs: options.inboxPurgeEveryMs,
      run: () => this.reap(),
      onError: (cause) =>
        incidents.report({
          code: 'INBOX_PURGE_FAILED',
          source: 'sql.inbox',
          message: 'The inbox grows until a later purge succeeds',
          cause,
        }),
    });
    drains.register({ name: 'inbox purge', phase: 'work', drain: () => this.reaper.stop() });
  }

  /**
   * True for the first copy of a message that reaches a consumer in a transaction that commits; false for every other.
   * While another transaction handles a copy, waits for its end: true if that one rolls back. Where several wait for one
   * that rolls back, MariaDB lets one go on and ends the others by a deadlock, to be repeated.
   *
   * A message is remembered for `inboxRetention` from when it was received; a copy that comes later takes effect again.
   *
   * @param tx the transaction of the effect
   * @param consumer name of whoever handles the message: letters, digits and `_ . : / -`, at most 200
   * @param messageId a UUID of version 7, made by the sender
   * @throws MessageIdInvalidError when the id is no such UUID
   * @throws StoreUnavailableError when the tables were still to be made, which needs a second connection
   */
  async once(tx: SqlTransaction, consumer: string, messageId: string): Promise<boolean> {
    assertConsumer(consumer);
    const day = messageDay(messageId);
    await this.prepare();
    return (await tx.execute(this.statements.receive, [day, consumer, messageId])) === 1;
  }

  /**
   * {@link once} for several messages, in one statement for each day: the ids, as they were given, of those of which this is the first
   * copy. An id that is given twice is one message. Waits like `once`; two calls with messages in common never wait for
   * each other in a circle, whatever the order in which they were given.
   *
   * @throws what `once` throws; then nothing of it is known to be received, and the transaction is to be rolled back
   */
  async onceMany(tx: SqlTransaction, consumer: string, messageIds: readonly string[]): Promise<ReadonlySet<string>> {
    assertConsumer(consumer);
    const given = new Map(messageIds.map((id) => [String(id).toLowerCase(), id]));
    const first = new Set<string>();
    if (given.size === 0) return first;
    const days = byDay(given.keys());
    await this.prepare();
    for (const [day, ids] of days) {
      for (const id of await this.firstOf(tx, consumer, day, ids)) first.add(given.get(id) ?? id);
    }
    return first;
  }

  private async firstOf(
    tx: SqlTransaction,
    consumer: string,
    day: string,
    ids: readonly string[],
  ): Promise<readonly string[]> {
    const { receiveMany, listOf } = this.statements;
    const rows = await tx.query<ReceivedRow>(receiveMany, [day, consumer, listOf(ids)]);
    return rows.filter(({ copies = 1 }) => Number(copies) === 1).map(({ id }) => dashed(id));
  }

  /** Forgets what was received longer ago, in small transactions. Returns how many messages were forgotten. */
  async purge(olderThanMs: number): Promise<number> {
    durationMs(olderThanMs, 'olderThanMs');
    await this.prepare();
    let total = 0;
    for (;;) {
      const purged = await this.purgeBatch(olderThanMs);
      total += purged;
      if (purged < PURGE_BATCH) return total;
    }
  }

  /** Sees to it that the table is there, and purges it from then on; see {@link Sql.ensureMigrated}. */
  async prepare(): Promise<void> {
    await this.sql.ensureMigrated({
      name: 'inbox',
      directory: new URL(`./migrations/${this.sql.dialect}/`, import.meta.url),
    });
    if (this.prepared) return;
    this.prepared = true;
    this.reaper.wake();
  }

  /** Here and not in `prepare`, whose caller's transaction and trace the loop would be part of for ever. */
  onApplicationBootstrap(): void {
    this.reaper.start();
  }

  private async reap(): Promise<'again' | undefined> {
    if (!this.prepared) return undefined;
    return (await this.purgeBatch(this.retentionMs)) === PURGE_BATCH ? 'again' : undefined;
  }

  private purgeBatch(olderThanMs: number): Promise<number> {
    return this.sql.execute(this.statements.purge, [olderThanMs, PURGE_BATCH]);
  }
}

function assertConsumer(consumer: string): void {
  if (typeof consumer === 'string' && CONSUMER.test(consumer)) return;
  throw ConfigurationError.option('consumer', consumer, 'letters, digits and _ . : / -, at most 200');
}

/** In the order of the table's key, which is also that of time. @throws MessageIdInvalidError */
function byDay(ids: Iterable<string>): ReadonlyMap<string, readonly string[]> {
  const days = new Map<string, string[]>();
  for (const id of [...ids].sort()) {
    const day = messageDay(id);
    const some = days.get(day);
    if (some) some.push(id);
    else days.set(day, [id]);
  }
  return days;
}

function dashed(id: string): string {
  return id.length === 32 ? id.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') : id;
}
