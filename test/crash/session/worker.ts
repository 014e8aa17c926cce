import 'reflect-metadata';
import { SessionModule } from '@lockstep/session';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { STOP, type WorkerReady } from '../fleet/fleet.js';
import { DeskController } from './desk.controller.js';
import { chooseStore } from './store-choice.js';
import { WORKER_SETTING, type WorkerSetting } from './worker-setting.js';

/** One process that serves sessions, until it is told to stop, or killed. */
const setting = JSON.parse(process.env[WORKER_SETTING] ?? '{}') as WorkerSetting;
const { modules, store } = chooseStore(setting);

@Module({
  imports: [
    ...modules,
    SessionModule.forRoot({
      store,
      keys: { current: 'a', keys: { a: 'a secret of the chaos run alone, of enough bytes' } },
      touchAfter: 200,
    }),
  ],
  controllers: [DeskController],
})
class Desk {}

const app = await NestFactory.create(Desk, { logger: false, abortOnError: false });
process.on('message', (message) => {
  if (message === STOP) void stop();
});
await app.listen(0, '127.0.0.1');
const ready: WorkerReady = { url: await app.getUrl() };
process.send?.(ready);

async function stop(): Promise<void> {
  await app.close();
  process.exit();
}
