import { ContextCarriers, checkpoint, count, monotonicMs, withSpan } from '@lockstep/core';
import { Sql, type SqlTransaction } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { type Attributes, SpanKind } from '@opentelemetry/api';
import { checkedTransaction } from './checked-transaction.js';
import type { OutgoingMessage } from './message.js';
import { encodeMessage } from './message-codec.js';
import { CALLBACK_HEADER, DURABILITY_HEADER, IN_REPLY_TO_HEADER, ORIGIN_HEADER } from './message-headers.js';
import { promiseOf } from './message-promise.js';
import { MessageInvalidError } from './outbox.errors.js';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from './outbox.options.js';
import { OUTBOX_STORE, type OutboxRecord, type OutboxStore } from './outbox-store.js';
import { RelayWakeUp } from './relay/relay-wake-up.js';
import { ShardPicker } from './shard-picker.js';

const PRODUCER = { kind: SpanKind.PRODUCER };

export interface PublishManyOptions {
  /** The transaction to join. @default the current one */
  readonly tx?: SqlTransaction;
}

export interface PublishOptions extends PublishManyOptions, Omit<OutgoingMessage, 'topic' | 'body'> {}

/**
 * Publishes messages as part of a transaction: a message exists exactly when the transaction commits, and is gone with
 * the savepoint it was published in.
 *
 * Where the transaction lets itself be observed, its messages go out as one insert right before the commit:
 *
 * ```
 * published --before commit--> collected --after the last hook--> inserted --commit--> relayed
 *     '-- savepoint rolled back --> forgotten
 * ```
 * In any other transaction each call inserts at once.
 */
@Injectable()
export class OutboxService {
  private readonly collected = new WeakMap<SqlTransaction, OutboxRecord[]>();
  private readonly shards: ShardPicker;

  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(ContextCarriers) private readonly carriers: ContextCarriers,
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(RelayWakeUp) private readonly wakeUp: RelayWakeUp,
  ) {
    this.shards = new ShardPicker(options.shards);
  }

  /**
   * Publishes one message in `options.tx`, else in the current transaction.
   *
   * @returns the id by which every consumer knows the message
   * @throws TransactionRequiredError when there is no transaction: it never publishes without one
   * @throws MessageInvalidError when topic, key or headers are not allowed, an option is unknown, the body is no JSON or
   * the size is too much
   */
  async publish(topic: string, body: unknown, options: PublishOptions = {}): Promise<string> {
    const { tx, ...rest } = options;
    const [id] = await this.publishMany([{ topic, body, ...rest }], tx === undefined ? {} : { tx });
    return id as string;
  }

  /**
   * Like {@link publish} for several messages, in this order: all or none.
   *
   * @returns the ids, in the order given
   * @throws TransactionRequiredError, MessageInvalidError; ConfigurationError when `tx` is no transaction
   */
  async publishMany(messages: readonly OutgoingMessage[], options: PublishManyOptions = {}): Promise<string[]> {
    checkNames(messages, options);
    const tx = options.tx === undefined ? this.requireTransaction('outbox.publish') : checkedTransaction(options.tx);
    if (messages.length === 0) return [];
    const attributes = publishAttributes(messages);
    const records = await withSpan('lockstep.outbox.publish', attributes, () => this.write(tx, messages), PRODUCER);
    return records.map(({ message }) => message.id);
  }

  /** In the span that consumers see as what made the message. */
  private async write(tx: SqlTransaction, messages: readonly OutgoingMessage[]): Promise<readonly OutboxRecord[]> {
    const carried = this.carriers.inject();
    const records = messages.map((message) => this.record(message, carried));
    await this.append(tx, records);
    return records;
  }

  /**
   * For Lockstep's own consumers: a reply, whose id is the same however often it is made.
   *
   * @throws MessageInvalidError
   */
  async publishReply(
    tx: SqlTransaction,
    reply: OutgoingMessage,
    { id, inReplyTo }: { readonly id: string; readonly inReplyTo: string },
  ): Promise<void> {
    const record = this.record(reply, { ...this.carriers.inject(), [IN_REPLY_TO_HEADER]: inReplyTo });
    await this.append(tx, [{ ...record, message: { ...record.message, id } }]);
  }

  /** Checked, with its id and headers, and in no store yet. @throws MessageInvalidError */
  recordOf(message: OutgoingMessage): OutboxRecord {
    return this.record(message, this.carriers.inject());
  }

  /** @throws TransactionRequiredError */
  requireTransaction(purpose: string): SqlTransaction {
    return this.sql.requireCurrent(purpose);
  }

  private record(message: OutgoingMessage, carried: Readonly<Record<string, string>>): OutboxRecord {
    const durability = this.options.topicDurability.get(message?.topic) ?? this.options.durability;
    const own = {
      ...carried,
      [ORIGIN_HEADER]: this.options.origin,
      [DURABILITY_HEADER]: durability,
      ...(message?.callback === undefined ? {} : { [CALLBACK_HEADER]: message.callback }),
    };
    const envelope = encodeMessage(message, own, this.options.maxMessageBytes);
    return { message: envelope, shard: this.shards.pick(envelope), ...promiseOf(message, this.options) };
  }

  private async append(tx: SqlTransaction, records: readonly OutboxRecord[]): Promise<void> {
    if (!tx.beforeCommit) {
      await this.insert(tx, records, 'at-once');
      return;
    }
    // A hook for each call, because a savepoint forgets exactly the hooks that were registered in it.
    tx.beforeCommit(async () => this.collect(tx, records));
  }

  /** The first hook to run puts the insert behind all the others. */
  private collect(tx: SqlTransaction, records: readonly OutboxRecord[]): void {
    const batch = this.collected.get(tx);
    if (batch) {
      batch.push(...records);
      return;
    }
    this.collected.set(tx, [...records]);
    tx.beforeCommit?.(async () => {
      const all = this.collected.get(tx) ?? [];
      this.collected.delete(tx);
      await this.insert(tx, all, 'with-commit');
    });
  }

  private async insert(
    tx: SqlTransaction,
    records: readonly OutboxRecord[],
    when: 'at-once' | 'with-commit',
  ): Promise<void> {
    const sentAtMs = monotonicMs();
    if (when === 'with-commit' && this.store.appendLast) await this.store.appendLast(tx, records);
    else await this.store.append(tx, records);
    checkpoint('outbox.appended', { messages: records.length });
    count('lockstep.outbox.published', {}, records.length);
    tx.afterCommit?.(() => this.wakeRelays(records, sentAtMs));
  }

  private wakeRelays(records: readonly OutboxRecord[], sentAtMs: number): void {
    const shards = new Set<number>();
    let delayMs = Number.POSITIVE_INFINITY;
    for (const record of records) {
      if (record.delayMs === 0) shards.add(record.shard);
      else delayMs = Math.min(delayMs, record.delayMs);
    }
    if (shards.size > 0) this.wakeUp.wake(shards);
    if (delayMs < Number.POSITIVE_INFINITY) this.wakeUp.expect(Math.max(delayMs - (monotonicMs() - sentAtMs), 0));
  }
}

/** What belongs to a message would be lost here: all of them would go out without it. */
function checkNames(messages: readonly OutgoingMessage[], options: PublishManyOptions): void {
  for (const name of Object.keys(options)) {
    if (name !== 'tx') throw new MessageInvalidError(messages[0]?.topic, `'${name}' is no option of publishMany`);
  }
}

function publishAttributes(messages: readonly OutgoingMessage[]): Attributes {
  const [first] = messages;
  const isOne = messages.every((message) => message?.topic === first?.topic);
  return {
    'messaging.operation.type': 'create',
    'messaging.batch.message_count': messages.length,
    ...(isOne && typeof first?.topic === 'string' ? { 'messaging.destination.name': first.topic } : {}),
  };
}
