import 'reflect-metadata';
import { OutboxService } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { STOP, type WorkerReady } from '../fleet/fleet.js';
import { Producer } from './producer.js';
import { openShop, watchIncidents } from './shop.js';
import { type MemoryReport, WORKER_SETTING, type WorkerSetting } from './worker-setting.js';

const MEMORY_EVERY_MS = 100;

/** One process with some of the roles, until it is told to stop, or killed. */
const setting = JSON.parse(process.env[WORKER_SETTING] ?? '{}') as WorkerSetting;
const app = await openShop(setting);
watchIncidents(app, (line) => console.log(line));
const producer = new Producer(app.get(Sql), app.get(OutboxService));
if (setting.roles.includes('producer')) producer.start();
process.on('message', (message) => {
  if (message === STOP) void stop();
});
process.on('SIGTERM', () => void stop());
setInterval(reportMemory, MEMORY_EVERY_MS);
const ready: WorkerReady = { url: `process:${process.pid}` };
process.send?.(ready);

function reportMemory(): void {
  if (setting.reportsMemory !== true) return;
  const report: MemoryReport = { rssBytes: process.memoryUsage.rss() };
  process.send?.(report);
}

async function stop(): Promise<void> {
  await producer.stop();
  await app.close();
  process.exit();
}
