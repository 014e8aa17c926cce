import { DrainService, type DriverProvider, Incidents, type RetryScheduler } from '@lockstep/core';
import type { MessageTransport } from '@lockstep/outbox';
import {
  type BullmqRetrySchedulerOptions,
  type BullmqTransportOptions,
  type ResolvedBullmqOptions,
  resolveRetrySchedulerOptions,
  resolveTransportOptions,
} from './bullmq.options.js';
import { BullmqRetryScheduler } from './scheduler/bullmq-retry-scheduler.js';
import type { JobServer } from './server/job-server.js';
import { PostgresJobServer } from './server/postgres-job-server.js';
import { RedisJobServer } from './server/redis-job-server.js';
import { BullmqTransport } from './transport/bullmq-transport.js';

/**
 * Carries the messages of the outbox by BullMQ, on Redis or on Postgres:
 * `OutboxModule.forRoot({ transport: bullmqTransport({ redis: { url } }) })`. The server may be down when the
 * application starts.
 *
 * @throws ConfigurationError naming the option and its value
 */
export function bullmqTransport(options: BullmqTransportOptions): DriverProvider<MessageTransport> {
  const resolved = resolveTransportOptions(options);
  return {
    inject: [Incidents, DrainService],
    useFactory: async (incidents: Incidents, drain: DrainService) => {
      const transport = new BullmqTransport(await openServer(resolved, incidents), resolved, incidents);
      drain.register({ name: 'bullmq.transport', phase: 'connections', drain: () => transport.close() });
      return transport;
    },
  };
}

/**
 * Wakes rows by BullMQ's delayed jobs:
 * `{ provide: RETRY_SCHEDULER, ...checkedDriver('scheduler', bullmqRetryScheduler({ redis: { url } })) }`.
 *
 * @throws ConfigurationError naming the option and its value
 */
export function bullmqRetryScheduler(options: BullmqRetrySchedulerOptions): DriverProvider<RetryScheduler> {
  const resolved = resolveRetrySchedulerOptions(options);
  return {
    inject: [Incidents, DrainService],
    useFactory: async (incidents: Incidents, drain: DrainService) => {
      const scheduler = new BullmqRetryScheduler(await openServer(resolved, incidents), resolved, incidents);
      drain.register({ name: 'bullmq.retry-scheduler', phase: 'connections', drain: () => scheduler.close() });
      return scheduler;
    },
  };
}

function openServer(options: ResolvedBullmqOptions, incidents: Incidents): Promise<JobServer> {
  const { server, namespace, commandTimeoutMs } = options;
  return server.kind === 'redis'
    ? RedisJobServer.open(server.source, namespace, commandTimeoutMs, incidents)
    : PostgresJobServer.open(server, namespace, commandTimeoutMs, incidents);
}
