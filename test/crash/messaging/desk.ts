import { LockstepModule } from '@lockstep/core';
import { DeadLetters, memoryMessageTransport, OutboxModule, OutboxService } from '@lockstep/outbox';
import { Inbox, Sql, SqlModule } from '@lockstep/sql';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { openBooks } from './books.js';
import { DATABASES, type DatabaseName } from './server-choice.js';
import { SHOP_OPTIONS } from './shop-options.js';

/** The publisher and operator inside of the process that watches the others: it neither relays nor consumes. */
export interface Desk {
  readonly sql: Sql;
  readonly outbox: OutboxService;
  readonly inbox: Inbox;
  readonly deadLetters: DeadLetters;
  close(): Promise<void>;
}

/** Opens the books in an empty database, unless they are open already. */
export async function openDesk(
  database: DatabaseName,
  url: string,
  { withBooks = true }: { readonly withBooks?: boolean } = {},
): Promise<Desk> {
  const { driver, store } = DATABASES[database];
  @Module({
    imports: [
      LockstepModule.forRoot({}),
      SqlModule.forRoot({ driver: driver(url), commandTimeout: '5s' }),
      OutboxModule.forRoot({
        ...SHOP_OPTIONS,
        store: store(),
        // Never used: what is published here is relayed by others.
        transport: memoryMessageTransport(),
        run: { relay: false, consumers: false },
      }),
    ],
  })
  class DeskModule {}
  const app = await NestFactory.createApplicationContext(DeskModule, { logger: false, abortOnError: false });
  const sql = app.get(Sql);
  if (withBooks) await openBooks(sql);
  return {
    sql,
    outbox: app.get(OutboxService),
    inbox: app.get(Inbox),
    deadLetters: app.get(DeadLetters),
    close: () => app.close(),
  };
}
