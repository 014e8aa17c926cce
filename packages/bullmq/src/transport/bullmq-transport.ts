import { type Incidents, Permits } from '@lockstep/core';
import type {
  BatchHandler,
  ConsumeOptions,
  MessageEnvelope,
  MessageRoute,
  MessageTransport,
  PublishOutcome,
  TransportSubscription,
} from '@lockstep/outbox';
import type { JobsOptions } from 'bullmq';
import type { ResolvedTransportOptions } from '../bullmq.options.js';
import { jobId, queueEntity } from '../queue-entity.js';
import { DURABLE_JOB } from '../server/job-options.js';
import { JobQueues } from '../server/job-queues.js';
import type { JobServer } from '../server/job-server.js';
import { packLuggage } from './letter.js';
import { packJobs, refusal } from './packing.js';
import { RouteSubscription } from './route-subscription.js';
import type { FollowUp } from './settlement.js';

const ACCEPTED: PublishOutcome = { outcome: 'accepted' };
const JOB_NAME = 'messages';

interface NewJob {
  readonly name: string;
  readonly data: unknown;
  readonly opts: JobsOptions;
}

/** {@link MessageTransport} on BullMQ: one queue a route, one job for many messages. */
export class BullmqTransport implements MessageTransport {
  private readonly queues: JobQueues;
  private readonly subscriptions = new Set<RouteSubscription>();
  private readonly quarantine = new Permits(1);
  private closed: Promise<void> | undefined;

  constructor(
    private readonly server: JobServer,
    private readonly options: ResolvedTransportOptions,
    private readonly incidents: Incidents,
  ) {
    this.queues = new JobQueues(server, options.commandTimeoutMs, incidents);
  }

  async publish(route: MessageRoute, messages: readonly MessageEnvelope[]): Promise<readonly PublishOutcome[]> {
    const refusals = messages.map((message) => refusal(message, this.options));
    const accepted = messages.filter((_, index) => refusals[index] === undefined);
    const jobs = packJobs(accepted, this.options).map((batch): NewJob => {
      const letters = batch.map((message) => ({ message, attempts: 0 }));
      const id = jobId(
        'batch',
        batch.map((message) => message.id),
      );
      return { name: JOB_NAME, data: packLuggage({ handOver: 'batch', letters }), opts: { ...DURABLE_JOB, jobId: id } };
    });
    await this.add(route, 'transport.publish', jobs);
    return refusals.map((refused) => refused ?? ACCEPTED);
  }

  async consume(route: MessageRoute, handler: BatchHandler, options: ConsumeOptions): Promise<TransportSubscription> {
    const subscription = new RouteSubscription({
      server: this.server,
      queueName: this.queueName(route),
      handler,
      options,
      lockDurationMs: this.options.lockDurationMs,
      commandTimeoutMs: this.options.commandTimeoutMs,
      incidents: this.incidents,
      quarantine: this.quarantine,
      addFollowUps: (parentId, followUps) => this.addFollowUps(route, parentId, followUps),
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

  private addFollowUps(route: MessageRoute, parentId: string, followUps: readonly FollowUp[]): Promise<void> {
    const jobs = followUps.map((followUp): NewJob => {
      // The parent's id makes it another job than the parent itself, which still exists and would swallow it.
      const id = jobId('rest', [parentId, ...followUp.letters.map(({ message }) => message.id)]);
      return {
        name: JOB_NAME,
        data: packLuggage(followUp),
        opts: { ...DURABLE_JOB, jobId: id, delay: followUp.delayMs },
      };
    });
    return this.add(route, 'transport.redeliver', jobs);
  }

  private async add(route: MessageRoute, operation: string, jobs: NewJob[]): Promise<void> {
    if (jobs.length === 0) return;
    await this.queues.run(this.queueName(route), operation, (queue) => queue.addBulk(jobs));
  }

  private queueName({ topic, consumer }: MessageRoute): string {
    return this.server.queueName('route', queueEntity(topic, consumer));
  }
}
