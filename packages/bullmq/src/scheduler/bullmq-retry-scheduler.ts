import { randomUUID } from 'node:crypto';
import type { Incidents, RetryScheduler, WakeUp, WakeUpHandler, WakeUpSubscription } from '@lockstep/core';
import type { JobsOptions } from 'bullmq';
import type { ResolvedRetrySchedulerOptions } from '../bullmq.options.js';
import { jobId, queueEntity } from '../queue-entity.js';
import { DURABLE_JOB } from '../server/job-options.js';
import { JobQueues } from '../server/job-queues.js';
import type { JobQueue, JobServer } from '../server/job-server.js';
import { type WakeUpJob, WakeUpSubscriptionOnQueue } from './wake-up-subscription.js';

/**
 * {@link RetryScheduler} on BullMQ's delayed jobs. Each wake-up is a job of its own with a deduplication key, so that
 * scheduling is one command: a delayed job is replaced, and one scheduled while the handler runs follows it.
 */
export class BullmqRetryScheduler implements RetryScheduler {
  private readonly queues: JobQueues;
  private readonly subscriptions = new Set<WakeUpSubscriptionOnQueue>();
  private closed: Promise<void> | undefined;

  constructor(
    private readonly server: JobServer,
    private readonly options: ResolvedRetrySchedulerOptions,
    private readonly incidents: Incidents,
  ) {
    this.queues = new JobQueues(server, options.commandTimeoutMs, incidents);
  }

  schedule({ queue, id, dueAt }: WakeUp): Promise<void> {
    return this.queues.run(this.queueName(queue), 'retry-scheduler.schedule', (jobs) => place(jobs, { id, dueAt }));
  }

  cancel(queue: string, id: string): Promise<void> {
    return this.queues.run(this.queueName(queue), 'retry-scheduler.cancel', async (jobs) => {
      const current = await jobs.getDeduplicationJobId(deduplicationId(id));
      if (current) await jobs.remove(current);
    });
  }

  async handle(queue: string, handler: WakeUpHandler): Promise<WakeUpSubscription> {
    const { lockDurationMs, commandTimeoutMs, concurrency, attempts } = this.options;
    const subscription = new WakeUpSubscriptionOnQueue({
      server: this.server,
      queueName: this.queueName(queue),
      handler,
      concurrency,
      attempts,
      lockDurationMs,
      commandTimeoutMs,
      incidents: this.incidents,
    });
    this.subscriptions.add(subscription);
    return {
      close: async (signal) => {
        await subscription.close(signal);
        this.subscriptions.delete(subscription);
      },
    };
  }

  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    const atOnce = AbortSignal.abort();
    await Promise.all([...this.subscriptions].map((subscription) => subscription.close(atOnce)));
    this.subscriptions.clear();
    await this.queues.close();
    await this.server.close();
  }

  private queueName(queue: string): string {
    return this.server.queueName('wake-up', queueEntity(queue));
  }
}

async function place(jobs: JobQueue, wakeUp: WakeUpJob): Promise<void> {
  const own = await add(jobs, wakeUp);
  if (own.current === own.requested) return;
  // Another job of this wake-up runs, and this one follows it; or it waits for a free hand, too late to be replaced.
  // Removing does nothing to a running job, and adding once more is then the same request again.
  await jobs.remove(own.current);
  await add(jobs, wakeUp);
}

async function add(jobs: JobQueue, wakeUp: WakeUpJob): Promise<{ current: string; requested: string }> {
  const requested = `wake-${randomUUID()}`;
  const options: JobsOptions = {
    ...DURABLE_JOB,
    jobId: requested,
    delay: Math.max(0, Math.ceil(wakeUp.dueAt - Date.now())),
    deduplication: { id: deduplicationId(wakeUp.id), replace: true, keepLastIfActive: true },
  };
  const job = await jobs.add('wake-up', wakeUp, options);
  return { current: job.id ?? requested, requested };
}

function deduplicationId(id: string): string {
  return jobId('id', [id]);
}
