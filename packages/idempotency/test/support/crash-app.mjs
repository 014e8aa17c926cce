// One process of a crash test: a route behind @Idempotent on a real Redis. Plain JavaScript, as a child needs no build.
import 'reflect-metadata';
import { checkpoint } from '@lockstep/core';
import { currentIdempotency, IdempotencyModule, Idempotent } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisModule } from '@lockstep/redis';
import { Controller, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

class PaymentsController {
  async pay() {
    checkpoint('handler');
    const { fence, recovered } = currentIdempotency();
    return { pid: process.pid, fence: String(fence), recovered };
  }
}
const pay = Object.getOwnPropertyDescriptor(PaymentsController.prototype, 'pay');
Idempotent()(PaymentsController.prototype, 'pay', pay);
Post()(PaymentsController.prototype, 'pay', pay);
Object.defineProperty(PaymentsController.prototype, 'pay', pay);
Controller('payments')(PaymentsController);

class AppModule {}
Module({
  controllers: [PaymentsController],
  imports: [
    RedisModule.forRoot({ url: process.env.REDIS_URL, namespace: process.env.NAMESPACE }),
    IdempotencyModule.forRoot({
      store: redisIdempotencyStore(),
      scope: 'global',
      secret: 'a secret that only the tests know',
      lease: '1s',
      sweepEvery: '200ms',
      onLeaseExpiry: process.env.POLICY,
    }),
  ],
})(AppModule);

const app = await NestFactory.create(AppModule, { logger: false });
await app.listen(0, '127.0.0.1');
process.send({ url: await app.getUrl() });
