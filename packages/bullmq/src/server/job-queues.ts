import { type Incidents, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import { Queue } from 'bullmq';
import type { JobQueue, JobServer } from './job-server.js';

/**
 * Commands on queues, each within the command timeout: one that was not sent by then did not happen, one that was sent
 * and not answered may have.
 */
export class JobQueues {
  private readonly queues = new Map<string, JobQueue>();

  constructor(
    private readonly server: JobServer,
    private readonly timeoutMs: number,
    private readonly incidents: Incidents,
  ) {}

  /**
   * Runs `command` on the queue `name`.
   * @throws StoreUnavailableError `not-applied` when the server could not be reached, `unknown` when it did not answer
   */
  async run<T>(name: string, operation: string, command: (queue: JobQueue) => Promise<T>): Promise<T> {
    const deadline = monotonicMs() + this.timeoutMs;
    const queue = await this.bounded(this.usable(name), deadline, operation, 'not-applied');
    return this.bounded(command(queue), deadline, operation, 'unknown');
  }

  async close(): Promise<void> {
    await Promise.all([...this.queues.values()].map((queue) => queue.close()));
    this.queues.clear();
  }

  private async usable(name: string): Promise<JobQueue> {
    await this.server.whenReady();
    const queue = this.queues.get(name) ?? this.open(name);
    try {
      await queue.waitUntilReady();
    } catch (error) {
      // BullMQ remembers a failed start for ever: only another object can succeed.
      this.queues.delete(name);
      await queue.close();
      throw error;
    }
    return queue;
  }

  private open(name: string): JobQueue {
    const { prefix, backendFactory } = this.server;
    // What `prefix` and the length of the event stream default to is right also after the server lost this queue's
    // metadata, so none is written.
    const options = { connection: {}, skipMetasUpdate: true, ...(prefix === undefined ? {} : { prefix }) };
    const queue: JobQueue = new Queue(name, options, backendFactory);
    queue.on('error', (cause) => {
      this.incidents.report({ code: 'QUEUE_FAILED', source: 'bullmq.queue', message: `${name} failed`, cause });
    });
    this.queues.set(name, queue);
    return queue;
  }

  private async bounded<T>(
    work: Promise<T>,
    deadline: number,
    operation: string,
    outcome: 'not-applied' | 'unknown',
  ): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const remainingMs = Math.max(deadline - monotonicMs(), 0);
      timer = setTimeout(() => reject(new Error(`no answer within ${this.timeoutMs} ms`)), remainingMs);
    });
    try {
      return await Promise.race([work, late]);
    } catch (cause) {
      throw new StoreUnavailableError({ store: this.server.store, operation, outcome, cause });
    } finally {
      clearTimeout(timer);
    }
  }
}
