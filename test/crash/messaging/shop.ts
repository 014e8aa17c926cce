import { Incidents, LockstepModule } from '@lockstep/core';
import { OutboxModule } from '@lockstep/outbox';
import { Inbox, SqlModule } from '@lockstep/sql';
import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { deletingFirst, forgetCopies } from './breach.js';
import { Consumers } from './consumers.js';
import { DATABASES, transportOf } from './server-choice.js';
import { SHOP_OPTIONS } from './shop-options.js';
import type { WorkerSetting } from './worker-setting.js';

/** An application with some of the roles. */
export async function openShop(setting: WorkerSetting): Promise<INestApplicationContext> {
  const { database, databaseUrl, broker, brokerUrl, namespace, breach, roles } = setting;
  const { driver, store } = DATABASES[database];
  @Module({
    imports: [
      LockstepModule.forRoot({ drainTimeout: '10s' }),
      SqlModule.forRoot({ driver: driver(databaseUrl), commandTimeout: '1s', statementTimeout: '10s' }),
      OutboxModule.forRoot({
        ...SHOP_OPTIONS,
        store: breach === 'deletes-first' ? deletingFirst(store()) : store(),
        transport: transportOf(broker, brokerUrl, namespace),
        run: { relay: roles.includes('relay'), consumers: roles.includes('consumer') },
        batchSize: 50,
        sweepEvery: 100,
        leaseTtl: 1_000,
        redeliverAfter: '6s',
        redeliverAtMost: '12s',
        ...setting.outbox,
      }),
    ],
    providers: [Consumers],
  })
  class Shop {}
  const app = await NestFactory.createApplicationContext(Shop, { logger: false, abortOnError: false });
  if (breach === 'no-inbox') forgetCopies(app.get(Inbox));
  return app;
}

/** Codes and causes, as they come. */
export function watchIncidents(app: INestApplicationContext, see: (line: string) => void): void {
  app.get(Incidents).subscribe(({ code, message }) => see(`incident ${code}: ${message}`));
}
