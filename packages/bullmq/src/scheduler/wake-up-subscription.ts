import { setMaxListeners } from 'node:events';
import { type Incidents, untilAborted, type WakeUpHandler, type WakeUpSubscription } from '@lockstep/core';
import { DelayedError } from 'bullmq';
import { JobConsumer, RunAgain } from '../server/job-consumer.js';
import type { JobServer, QueuedJob } from '../server/job-server.js';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 60_000;

/** The data of a wake-up's job. */
export interface WakeUpJob {
  readonly id: string;
  readonly dueAt: number;
}

export interface WakeUpSubscriptionInit {
  readonly server: JobServer;
  readonly queueName: string;
  readonly handler: WakeUpHandler;
  readonly concurrency: number;
  readonly attempts: number;
  readonly lockDurationMs: number;
  readonly commandTimeoutMs: number;
  readonly incidents: Incidents;
}

/** One handler on the wake-ups of one queue. */
export class WakeUpSubscriptionOnQueue implements WakeUpSubscription {
  private readonly consumer: JobConsumer;
  private readonly giveUp = new AbortController();
  private closed: Promise<void> | undefined;

  constructor(private readonly init: WakeUpSubscriptionInit) {
    const { server, queueName, incidents, concurrency, lockDurationMs } = init;
    setMaxListeners(0, this.giveUp.signal);
    this.consumer = new JobConsumer({
      server,
      queueName,
      incidents,
      concurrency,
      lockDurationMs,
      pauseAfterErrorMs: 1_000,
      process: (job, token) => this.process(job, token),
    });
  }

  close(signal?: AbortSignal): Promise<void> {
    this.closed ??= this.stop();
    if (signal?.aborted) this.giveUp.abort();
    else signal?.addEventListener('abort', () => this.giveUp.abort(), { once: true });
    return this.closed;
  }

  private async stop(): Promise<void> {
    await this.consumer.close(this.giveUp.signal, this.init.commandTimeoutMs);
  }

  private async process(job: QueuedJob, token: string): Promise<void> {
    const { id, dueAt } = wakeUpOf(job.data);
    // The queue counts delays on the clock of the process that scheduled; this one's may be behind.
    if (dueAt > Date.now()) {
      await job.moveToDelayed(dueAt, token);
      throw new DelayedError();
    }
    const attempt = job.attemptsMade + job.stalledCounter + 1;
    if (attempt > this.init.attempts) return this.drop(attempt - 1, new Error('the process ended each time'));
    try {
      const { signal } = this.giveUp;
      await untilAborted(this.init.handler(id, signal), signal, interrupted);
    } catch (cause) {
      if (attempt >= this.init.attempts) return this.drop(attempt, cause);
      throw new RunAgain(pauseMs(attempt));
    }
  }

  private drop(attempts: number, cause: unknown): void {
    this.init.incidents.report({
      code: 'WAKE_UP_DROPPED',
      source: 'bullmq.retry-scheduler',
      message: `a handler of ${this.init.queueName} failed ${attempts} times`,
      cause,
    });
  }
}

function interrupted(): never {
  throw new Error('the subscription was closed meanwhile');
}

function wakeUpOf(data: unknown): WakeUpJob {
  const { id, dueAt } = (data ?? {}) as Partial<WakeUpJob>;
  if (typeof id !== 'string' || typeof dueAt !== 'number') throw new Error('the job does not describe a wake-up');
  return { id, dueAt };
}

/** Grows by two and is drawn from its upper half, so that those who failed together do not come back together. */
function pauseMs(attempt: number): number {
  const fullMs = Math.min(FIRST_PAUSE_MS * 2 ** (attempt - 1), LONGEST_PAUSE_MS);
  return Math.round(fullMs * (0.5 + Math.random() / 2));
}
