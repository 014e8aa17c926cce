import { setTimeout as sleep } from 'node:timers/promises';
import { type IQueueBackend, type Processor, type Span, Worker, type WorkerOptions } from 'bullmq';
import type { JobServer, QueuedJob } from './job-server.js';

const PAUSE_MS = 500;
const never = (): boolean => false;

/**
 * BullMQ's worker, but for two habits. It asks for the next job at once after most errors, which is a busy loop while a
 * server refuses every command (out of memory, read-only after a failover, schema gone): this one pauses first. And it
 * takes a further job with the end of each, so that over several connections two jobs may arrive the wrong way round:
 * where that is so, this one takes them one after the other.
 */
export class PatientWorker extends Worker<unknown, void, string, IQueueBackend> {
  private readonly takesInTurn: boolean;

  constructor(name: string, processor: Processor<unknown, void>, options: WorkerOptions, server: JobServer) {
    super(name, processor, options, server.backendFactory);
    this.takesInTurn = !server.answersInOrder;
  }

  protected override async moveToActive(token: string, name?: string): Promise<QueuedJob> {
    try {
      return await super.moveToActive(token, name);
    } catch (error) {
      await sleep(PAUSE_MS, undefined, { ref: false });
      throw error;
    }
  }

  protected override handleCompleted(
    // biome-ignore lint/suspicious/noConfusingVoidType: what a processor returns, in BullMQ's own words
    result: void,
    job: QueuedJob,
    token: string,
    takesMore?: () => boolean,
    span?: Span,
  ): Promise<QueuedJob> {
    return super.handleCompleted(result, job, token, this.takesInTurn ? never : takesMore, span);
  }

  protected override handleFailed(
    error: Error,
    job: QueuedJob,
    token: string,
    takesMore?: () => boolean,
    span?: Span,
  ): Promise<QueuedJob> {
    return super.handleFailed(error, job, token, this.takesInTurn ? never : takesMore, span);
  }
}
