// A little mall for crash tests: places orders, relays, grants points; which of them is told by ROLES.
import 'reflect-metadata';
import { Incidents, LockstepModule } from '@lockstep/core';
import { memoryMessageTransport, OnMessage, OutboxModule, OutboxService } from '@lockstep/outbox';
import { mariadbOutboxStore } from '@lockstep/outbox/mariadb';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import { Inject, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TableTransport } from './table-transport.mjs';

const { DATABASE_URL: url, ROLES = 'web,relay,consumer', TRANSPORT = 'memory', ORDERS = '0' } = process.env;
const { DURABILITY: durability = 'until-ack', POISON = '' } = process.env;
const isMariaDb = url.startsWith('mysql:');
const roles = new Set(ROLES.split(','));

class Points {
  constructor(sql) {
    this.sql = sql;
  }

  async grant({ order }) {
    if (String(order) === POISON) process.kill(process.pid, 'SIGKILL');
    await this.sql.requireCurrent('points').execute('INSERT INTO points (order_id) VALUES ($1)', [order]);
  }
}
Inject(Sql)(Points, undefined, 0);
const backoff = { first: 20, atMost: 100 };
OnMessage('order.placed', { consumer: 'points', attempts: 3, backoff, batchSize: 4, concurrency: POISON ? 1 : 4 })(
  Points.prototype,
  'grant',
  Object.getOwnPropertyDescriptor(Points.prototype, 'grant'),
);

/** Listens before anything starts. */
class IncidentLog {
  constructor(incidents) {
    incidents.subscribe(({ code }) => console.log(`incident ${code}`));
  }
}
Inject(Incidents)(IncidentLog, undefined, 0);

class Mall {}
Module({
  imports: [
    LockstepModule.forRoot({}),
    SqlModule.forRoot({ driver: isMariaDb ? mariadbDriver({ url }) : pgDriver({ url }) }),
    OutboxModule.forRoot({
      store: isMariaDb ? mariadbOutboxStore() : postgresOutboxStore(),
      transport: TRANSPORT === 'memory' ? memoryMessageTransport() : { useFactory: () => new TableTransport(url) },
      origin: 'mall',
      durability,
      topics: { 'order.placed': { consumers: ['points'] } },
      run: { relay: roles.has('relay'), consumers: roles.has('consumer') },
      shards: 2,
      batchSize: 8,
      sweepEvery: 50,
      leaseTtl: 600,
      redeliverAfter: 300,
      redeliverAtMost: 600,
    }),
  ],
  providers: [IncidentLog, Points],
})(Mall);

const app = await NestFactory.createApplicationContext(Mall, { logger: false });
console.log('ready');
if (roles.has('web')) await placeOrders(app.get(Sql), app.get(OutboxService));
console.log('placed');
setInterval(() => undefined, 60_000);

/** Every fourth order is undone, and every fifth is published in a savepoint that is undone first. */
async function placeOrders(sql, outbox) {
  for (let n = 1; n <= Number(ORDERS); n += 1) {
    const placing = sql.transaction(async (tx) => {
      const [{ id }] = await tx.query(
        `INSERT INTO orders ${isMariaDb ? '() VALUES ()' : 'DEFAULT VALUES'} RETURNING id`,
      );
      if (n % 5 === 0) {
        await tx
          .savepoint(async () => {
            await outbox.publish('order.placed', { order: -id });
            throw new Error('undone');
          })
          .catch(() => undefined);
      }
      await outbox.publish('order.placed', { order: id }, { key: String(id % 3) });
      if (n % 4 === 0) throw new Error('refused');
    });
    await placing.catch((error) => {
      if (error.message !== 'refused') throw error;
    });
  }
}
