import { setMaxListeners } from 'node:events';
import { checkpoint, count, type Incidents } from '@lockstep/core';
import type { BatchHandler, ConsumeOptions, TransportSubscription } from '@lockstep/outbox';
import { DelayedError } from 'bullmq';
import { JobConsumer, RunAgain } from '../server/job-consumer.js';
import type { JobServer, QueuedJob } from '../server/job-server.js';
import { type Hands, HandOverRun } from './hand-over.js';
import { KeyLanes } from './key-lanes.js';
import { unpackLuggage } from './letter.js';
import { Permits } from './permits.js';
import { deliveriesOf, type FollowUp, isolate, needsIsolation, settle } from './settlement.js';

export interface RouteSubscriptionInit {
  readonly server: JobServer;
  readonly queueName: string;
  readonly handler: BatchHandler;
  readonly options: ConsumeOptions;
  readonly lockDurationMs: number;
  readonly commandTimeoutMs: number;
  readonly incidents: Incidents;
  /** Puts jobs in the queue; resolves once the server has them. */
  addFollowUps(parentId: string, followUps: readonly FollowUp[]): Promise<void>;
}

/**
 * One handler on one route. What becomes of a job:
 *
 * ```
 * taken --its process died before, several messages--> replaced by jobs that hand over one message each
 * taken --handed over--> answered --all done | dead--> gone
 *                                 --all retry | postpone--> waits for its delay, the same job
 *                                 --some--> replaced by jobs with what is left
 * ```
 *
 * A job is replaced by adding the others first: a crash between the two steps delivers twice, the other order would lose.
 */
export class RouteSubscription implements TransportSubscription {
  private readonly consumer: JobConsumer;
  private readonly hands: Hands;
  private readonly giveUp = new AbortController();
  private closed: Promise<void> | undefined;

  constructor(private readonly init: RouteSubscriptionInit) {
    const { handler, options, incidents } = init;
    setMaxListeners(0, this.giveUp.signal);
    this.hands = {
      handler,
      batchSize: options.batchSize,
      permits: new Permits(options.concurrency),
      lanes: new KeyLanes(),
      giveUp: this.giveUp.signal,
      incidents,
    };
    this.consumer = new JobConsumer({
      server: init.server,
      queueName: init.queueName,
      incidents,
      concurrency: options.concurrency,
      lockDurationMs: init.lockDurationMs,
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
    this.hands.permits.close();
    // After giving up, what was not handled still has to be put back: one command, if the server answers at all.
    await this.consumer.close(this.giveUp.signal, 2 * this.init.commandTimeoutMs);
  }

  private async process(job: QueuedJob, token: string): Promise<void> {
    const luggage = unpackLuggage(job.data);
    const history = { failures: job.attemptsMade, crashes: job.stalledCounter };
    if (needsIsolation(luggage, history)) {
      count('lockstep.bullmq.isolated');
      return this.replace(job, isolate(luggage, history));
    }
    const deliveries = deliveriesOf(luggage, history);
    const verdicts = await new HandOverRun(deliveries, this.hands).run();
    checkpoint('bullmq.batch.handled', { jobId: job.id });
    const settlement = settle(luggage, deliveries, verdicts);
    if (settlement.end === 'complete') return this.replace(job, settlement.followUps);
    if (settlement.counts) throw new RunAgain(settlement.delayMs);
    await job.moveToDelayed(Date.now() + settlement.delayMs, token);
    throw new DelayedError();
  }

  private async replace(job: QueuedJob, followUps: readonly FollowUp[]): Promise<void> {
    if (followUps.length === 0) return;
    await this.init.addFollowUps(job.id ?? '', followUps);
    checkpoint('bullmq.follow-ups.added', { jobId: job.id });
  }
}
