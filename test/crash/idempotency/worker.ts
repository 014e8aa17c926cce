import 'reflect-metadata';
import { IdempotencyModule } from '@lockstep/idempotency';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { STOP, type WorkerReady } from '../fleet/fleet.js';
import { Bank } from './bank.js';
import { Cashier } from './cashier.js';
import { OrdersController } from './orders.controller.js';
import { chooseStore } from './store-choice.js';
import { WORKER_SETTING, type WorkerSetting } from './worker-setting.js';

/** One process that serves orders, until it is told to stop, or killed. */
const setting = JSON.parse(process.env[WORKER_SETTING] ?? '{}') as WorkerSetting;
const { modules, store } = chooseStore(setting);
const bank = new Bank(setting.bankUrl);

@Module({
  imports: [
    ...modules,
    IdempotencyModule.forRoot({
      store,
      scope: 'global',
      secret: 'a secret of the chaos run alone',
      lease: setting.leaseMs,
      retention: '1h',
      sweepEvery: 200,
      completeAfter: 300,
    }),
  ],
  controllers: [OrdersController],
  providers: [Cashier, { provide: Bank, useValue: bank }],
})
class Shop {}

const app = await NestFactory.create(Shop, { logger: false, abortOnError: false });
process.on('message', (message) => {
  if (message === STOP) void stop();
});
await app.listen(0, '127.0.0.1');
const ready: WorkerReady = { url: await app.getUrl() };
process.send?.(ready);

async function stop(): Promise<void> {
  await app.close();
  await bank.close();
  process.exit();
}
