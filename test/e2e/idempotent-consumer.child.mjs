// A consumer of messages in a process of its own: a BullMQ worker that acknowledges when its handler resolves. Plain
// JavaScript, as a child needs no build.
import 'reflect-metadata';
import { checkpoint } from '@lockstep/core';
import { IdempotencyModule, IdempotentConsumer } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { sqlInbox } from '@lockstep/idempotency/sql';
import { RedisModule } from '@lockstep/redis';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { BullModule, Processor, WorkerHost } from '@nestjs/bullmq';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const { redisUrl, postgresUrl, namespace, queue, mode } = JSON.parse(process.env.CONSUMER ?? '{}');

class Points extends WorkerHost {
  constructor(sql) {
    super();
    this.sql = sql;
  }

  async process(job) {
    await this.paid(job.data);
    checkpoint('handled');
    return process.pid;
  }

  async paid({ id, amount }) {
    const effect = 'INSERT INTO points (message_id, amount, by) VALUES ($1, $2, $3)';
    await (this.sql.current() ?? this.sql).execute(effect, [id, amount, process.pid]);
    checkpoint('effect');
  }
}
Reflect.defineMetadata('design:paramtypes', [Sql], Points);
const { prototype } = Points;
const method = Object.getOwnPropertyDescriptor(prototype, 'paid');
const policy = mode === 'lease' ? { onLeaseExpiry: 'retry' } : {};
IdempotentConsumer({ consumer: 'points', messageId: ({ id }) => id, mode, ...policy })(prototype, 'paid', method);
Object.defineProperty(prototype, 'paid', method);
Processor(queue, { lockDuration: 400, stalledInterval: 200, maxStalledCount: 5, drainDelay: 1 })(Points);

const { hostname: host, port } = new URL(redisUrl);
class AppModule {}
Module({
  providers: [Points],
  imports: [
    BullModule.forRoot({ connection: { host, port: Number(port) }, prefix: namespace }),
    BullModule.registerQueue({ name: queue }),
    RedisModule.forRoot({ url: redisUrl, namespace }),
    SqlModule.forRoot({ driver: pgDriver({ url: postgresUrl }) }),
    IdempotencyModule.forRoot({
      store: redisIdempotencyStore(),
      inbox: sqlInbox(),
      scope: 'global',
      secret: 'a secret that only the tests know',
      lease: '1s',
    }),
  ],
})(AppModule);

const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
await app.get(Points).worker.waitUntilReady();
process.send({ ready: true });
