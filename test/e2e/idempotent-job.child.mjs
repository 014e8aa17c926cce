// A worker of @nestjs/bullmq in a process of its own, behind @Idempotent. Plain JavaScript, as a child needs no build.
import 'reflect-metadata';
import { checkpoint } from '@lockstep/core';
import { currentIdempotency, IdempotencyModule, Idempotent } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisModule } from '@lockstep/redis';
import { BullModule, Processor, WorkerHost } from '@nestjs/bullmq';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const { url, namespace, queue, policy } = JSON.parse(process.env.WORKER ?? '{}');

class Charges extends WorkerHost {
  async process(job) {
    const { recovered } = currentIdempotency();
    await new Promise((resolve) => process.send({ charged: job.data.id, recovered }, resolve));
    checkpoint('handler');
    return { charged: job.data.amount, by: process.pid };
  }
}
const { prototype } = Charges;
const method = Object.getOwnPropertyDescriptor(prototype, 'process');
Idempotent({ key: (job) => job.data.id, scope: 'global', onLeaseExpiry: policy })(prototype, 'process', method);
Object.defineProperty(prototype, 'process', method);
Processor(queue, { lockDuration: 400, stalledInterval: 200, maxStalledCount: 5, drainDelay: 1 })(Charges);

const { hostname: host, port } = new URL(url);
class AppModule {}
Module({
  providers: [Charges],
  imports: [
    BullModule.forRoot({ connection: { host, port: Number(port) }, prefix: namespace }),
    BullModule.registerQueue({ name: queue }),
    RedisModule.forRoot({ url, namespace }),
    IdempotencyModule.forRoot({
      store: redisIdempotencyStore(),
      scope: 'global',
      secret: 'a secret that only the tests know',
      lease: '1s',
      sweepEvery: '200ms',
    }),
  ],
})(AppModule);

const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
await app.get(Charges).worker.waitUntilReady();
process.send({ ready: true });
