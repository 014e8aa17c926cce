// A shop for crash tests: commits orders with a notification each and sends them; ROLES says which of both.
import 'reflect-metadata';
import { Incidents, LockstepModule } from '@lockstep/core';
import { NotificationsModule, NotificationsService } from '@lockstep/outbox/notifications';
import { mariadbNotificationStore } from '@lockstep/outbox/notifications/mariadb';
import { postgresNotificationStore } from '@lockstep/outbox/notifications/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import { Inject, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const { DATABASE_URL: url, ROLES = 'web,worker', ORDERS = '0', TIMEOUT_MS = '250' } = process.env;
const roles = new Set(ROLES.split(','));
const isPostgres = url.startsWith('postgres');

/** Listens before anything starts. */
class IncidentLog {
  constructor(incidents) {
    incidents.subscribe(({ code }) => console.log(`incident ${code}`));
  }
}
Inject(Incidents)(IncidentLog, undefined, 0);

class Shop {}
Module({
  imports: [
    LockstepModule.forRoot({}),
    SqlModule.forRoot({ driver: isPostgres ? pgDriver({ url }) : mariadbDriver({ url }), commandTimeout: '5s' }),
    NotificationsModule.forRoot({
      store: isPostgres ? postgresNotificationStore() : mariadbNotificationStore(),
      run: { worker: roles.has('worker') },
      schedule: [0, 50, 50, 50],
      timeout: Number(TIMEOUT_MS),
      leaseTtl: 2 * Number(TIMEOUT_MS),
      sweepEvery: 50,
      concurrency: 4,
      targets: { allowHttp: true, ports: 'any', allow: ['127.0.0.1'] },
    }),
  ],
  providers: [IncidentLog],
})(Shop);

const app = await NestFactory.createApplicationContext(Shop, { logger: false });
app.enableShutdownHooks();
console.log('ready');
if (roles.has('web')) await placeOrders(app.get(Sql), app.get(NotificationsService));
console.log('placed');
setInterval(() => undefined, 60_000);

/** Every fourth order is undone. */
async function placeOrders(sql, notifications) {
  for (let n = 1; n <= Number(ORDERS); n += 1) {
    const placing = sql.transaction(async (tx) => {
      const id = await notifications.send({ endpoint: 'shop', type: 'order.placed', data: { n } });
      await tx.execute('INSERT INTO orders (notification_id) VALUES ($1)', [id]);
      if (n % 4 === 0) throw new Error('refused');
    });
    await placing.catch((error) => {
      if (error.message !== 'refused') throw error;
    });
  }
}
