import { setTimeout as sleep } from 'node:timers/promises';
import { type IQueueBackend, Worker } from 'bullmq';
import type { QueuedJob } from './job-server.js';

const PAUSE_MS = 500;

/**
 * BullMQ's worker asks for the next job at once after most errors. While a server refuses every command (out of memory,
 * read-only after a failover, schema gone) that is a busy loop against it; this one pauses first.
 */
export class PatientWorker extends Worker<unknown, void, string, IQueueBackend> {
  protected override async moveToActive(token: string, name?: string): Promise<QueuedJob> {
    try {
      return await super.moveToActive(token, name);
    } catch (error) {
      await sleep(PAUSE_MS, undefined, { ref: false });
      throw error;
    }
  }
}
