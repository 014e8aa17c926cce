import { ConfigurationError, type DriverProvider } from '@lockstep/core';
import { Inbox, Sql } from '@lockstep/sql';
import type { HandledMessage, MessageInbox } from '../../consumer/message-inbox.js';

/** The inbox of `@lockstep/sql`: one row per consumer and message, kept for `inboxRetention` of `SqlModule`. */
export class SqlInbox implements MessageInbox {
  constructor(
    private readonly sql: Sql,
    private readonly inbox: Inbox,
  ) {}

  async once<T>(consumer: string, messageId: string, effect: () => Promise<T>): Promise<HandledMessage<T>> {
    // Before the transaction: making the table needs a connection of its own.
    await this.inbox.prepare();
    return this.sql.transaction(async (tx) => {
      if (!(await this.inbox.once(tx, consumer, messageId))) return { isFirst: false };
      return { isFirst: true, result: await effect() };
    });
  }
}

/**
 * The inbox in the database of `SqlModule`, for `@IdempotentConsumer({ mode: 'transactional' })`. Message ids are UUIDs of
 * version 7, made by the sender.
 *
 * @throws ConfigurationError at boot, where `SqlModule` is not imported
 */
export function sqlInbox(): DriverProvider<MessageInbox> {
  return {
    // Optional, because Nest's own message names symbols and no module.
    inject: [
      { token: Sql, optional: true },
      { token: Inbox, optional: true },
    ],
    useFactory: (sql: Sql | undefined, inbox: Inbox | undefined) => {
      if (sql && inbox) return new SqlInbox(sql, inbox);
      throw new ConfigurationError('sqlInbox() needs SqlModule.forRoot(…) among the imports.');
    },
  };
}
