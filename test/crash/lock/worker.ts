import 'reflect-metadata';
import { LockModule, LockService } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { seededRandom } from '@lockstep/testing';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Contender } from './contender.js';
import { Journal } from './journal.js';
import { openRegisters } from './open-registers.js';
import { FREEZE, STOP, WORKER_SETTING, type WorkerSetting } from './worker-setting.js';

/** One contender as a process: works from its start until it is told to stop, or killed. */
const setting = JSON.parse(process.env[WORKER_SETTING] ?? '{}') as WorkerSetting;

@Module({
  imports: [
    RedisModule.forRoot({
      url: setting.lockUrl,
      namespace: setting.namespace,
      commandTimeout: setting.commandTimeoutMs,
    }),
    LockModule.forRoot({ store: redisLockStore(), ttl: setting.ttlMs }),
  ],
})
class Locks {}

const registers = await openRegisters(setting);
const app = await NestFactory.createApplicationContext(Locks, { logger: false, abortOnError: false });
const contender = new Contender(
  setting,
  app.get(LockService),
  registers,
  new Journal(setting.journal),
  seededRandom(setting.seed),
  (state) => process.send?.(state),
);
process.on('message', (message) => {
  if (message === STOP) contender.stop();
  else contender.isToFreeze = message === FREEZE;
});
await contender.run();
await app.close();
process.exit();
