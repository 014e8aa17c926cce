// One process of a crash test: takes a lock when told, says what it knows. Plain JavaScript, as a child needs no build.
import 'reflect-metadata';
import { LockModule, LockService } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { answerAsHolder } from './answer-as-holder.mjs';

class AppModule {}
Module({
  imports: [
    RedisModule.forRoot({ url: process.env.REDIS_URL, namespace: process.env.NAMESPACE }),
    LockModule.forRoot({ store: redisLockStore(), ttl: process.env.TTL_MS * 1, wait: '20s' }),
  ],
})(AppModule);

const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
app.enableShutdownHooks();
answerAsHolder(app.get(LockService));
