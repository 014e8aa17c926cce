import { setMaxListeners } from 'node:events';
import { checkpoint, count, type Incidents, isLockstepError, Permits, rested } from '@lockstep/core';
import type { BatchHandler, ConsumeOptions, TransportSubscription } from '@lockstep/outbox';
import { DelayedError, WaitingError } from 'bullmq';
import { JobConsumer, RunAgain } from '../server/job-consumer.js';
import type { JobServer, QueuedJob } from '../server/job-server.js';
import { HandOverRun, type Hands } from './hand-over.js';
import { KeyLanes } from './key-lanes.js';
import { type Luggage, packLuggage, unpackLuggage } from './letter.js';
import {
  deliveriesOf,
  type FollowUp,
  isolate,
  isSuspect,
  type JobHistory,
  needsIsolation,
  settle,
  withoutTry,
  withTry,
} from './settlement.js';

const ADD_AGAIN_MS = 500;

export interface RouteSubscriptionInit {
  readonly server: JobServer;
  readonly queueName: string;
  readonly handler: BatchHandler;
  readonly options: ConsumeOptions;
  readonly lockDurationMs: number;
  readonly commandTimeoutMs: number;
  readonly incidents: Incidents;
  /**
   * One permit for all routes of the process: two suspects at a time, and an innocent one would be counted with each
   * crash of the other.
   */
  readonly quarantine: Permits;
  /** Puts jobs in the queue; resolves once the server has them. */
  addFollowUps(parentId: string, followUps: readonly FollowUp[]): Promise<void>;
}

/**
 * One handler on one route. What becomes of a job:
 *
 * ```
 * taken --its process died before, several messages--> replaced by jobs that hand over one message each
 * taken --its process died before, one message--> waits for the quarantine --the try written down--> handed over
 * taken --> handed over --> answered --all done | dead--> gone
 *                          answered --all retry | postpone--> waits for its delay, the same job
 *                          answered --some--> replaced by jobs with what is left
 * ```
 *
 * A job is replaced by adding the others first: a crash between the two steps delivers twice, the other order would lose.
 */
export class RouteSubscription implements TransportSubscription {
  private readonly consumer: JobConsumer;
  private readonly hands: Hands;
  private readonly closing = new AbortController();
  private readonly giveUp = new AbortController();
  private closed: Promise<void> | undefined;

  constructor(private readonly init: RouteSubscriptionInit) {
    const { handler, options, incidents } = init;
    setMaxListeners(0, this.closing.signal, this.giveUp.signal);
    this.hands = {
      handler,
      batchSize: options.batchSize,
      permits: new Permits(options.concurrency),
      closing: this.closing.signal,
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
    this.closing.abort();
    await this.consumer.close(this.giveUp.signal, this.init.commandTimeoutMs);
  }

  private async process(job: QueuedJob, token: string): Promise<void> {
    const luggage = unpackLuggage(job.data);
    const history = { failures: job.attemptsMade, stalls: job.stalledCounter };
    if (needsIsolation(luggage, history)) {
      count('lockstep.bullmq.isolated');
      return this.replace(job, isolate(luggage, history));
    }
    const run: JobRun = { job, token, luggage, history, isSuspect: isSuspect(luggage, history) };
    if (!run.isSuspect) return this.hand(run);
    if (!(await this.init.quarantine.acquire(this.closing.signal))) {
      await job.moveToWait(token);
      throw new WaitingError();
    }
    try {
      await this.hand(run);
    } finally {
      this.init.quarantine.release();
    }
  }

  private async hand({ job, token, luggage, history, isSuspect: suspect }: JobRun): Promise<void> {
    const deliveries = deliveriesOf(luggage, history);
    const writeTry = suspect ? () => job.updateData(packLuggage(withTry(luggage, history))) : undefined;
    const verdicts = await new HandOverRun(deliveries, this.hands, writeTry).run();
    checkpoint('bullmq.batch.handled', { jobId: job.id });
    const settlement = settle(luggage, deliveries, verdicts);
    if (settlement.end === 'complete') return this.replace(job, settlement.followUps);
    if (settlement.counts) throw new RunAgain(settlement.delayMs);
    if (suspect) await job.updateData(packLuggage(withoutTry(luggage, history)));
    await job.moveToDelayed(Date.now() + settlement.delayMs, token);
    throw new DelayedError();
  }

  private async replace(job: QueuedJob, followUps: readonly FollowUp[]): Promise<void> {
    if (followUps.length === 0) return;
    await this.insist(() => this.init.addFollowUps(job.id ?? '', followUps));
    checkpoint('bullmq.follow-ups.added', { jobId: job.id });
  }

  /** A job that failed here would run again whole, and count a delivery against each message, postponed ones too. */
  private async insist(add: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await add();
      } catch (cause) {
        if (!isLockstepError(cause) || cause.kind !== 'unavailable') throw cause;
        const message = `${this.init.queueName}: what is left of a batch is not yet put back`;
        this.init.incidents.report({ code: 'FOLLOW_UPS_DELAYED', source: 'bullmq.transport', message, cause });
        if (!(await rested(ADD_AGAIN_MS, this.closing.signal))) throw cause;
      }
    }
  }
}

interface JobRun {
  readonly job: QueuedJob;
  readonly token: string;
  readonly luggage: Luggage;
  readonly history: JobHistory;
  readonly isSuspect: boolean;
}
