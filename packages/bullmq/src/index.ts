export type {
  BullmqOptions,
  BullmqPostgresOptions,
  BullmqRedisOptions,
  BullmqRetrySchedulerOptions,
  BullmqServerOptions,
  BullmqTransportOptions,
} from './bullmq.options.js';
export { bullmqRetryScheduler, bullmqTransport } from './bullmq.providers.js';
export type { PostgresPoolLike } from './server/postgres-pool.js';
export type { RedisClientLike } from './server/redis-clients.js';
export { contextTelemetry } from './telemetry/context-telemetry.js';
