import { createRequire } from 'node:module';
import type { OutboxModuleOptions } from '@lockstep/outbox';
import type { BrokerName, DatabaseName } from './server-choice.js';

export type Role = 'producer' | 'relay' | 'consumer';

/**
 * The control: a guarantee is broken on purpose. `no-inbox`: copies are not recognised. `deletes-first`: the relay forgets
 * what it claimed before it publishes it.
 */
export type Breach = 'no-inbox' | 'deletes-first';

/** Travels to a worker as JSON in the environment, as {@link WORKER_SETTING}. */
export interface WorkerSetting {
  readonly database: DatabaseName;
  readonly databaseUrl: string;
  readonly broker: BrokerName;
  readonly brokerUrl: string;
  readonly namespace: string;
  readonly roles: readonly Role[];
  readonly breach?: Breach;
  readonly outbox?: Partial<Omit<OutboxModuleOptions, 'run'>>;
  /** Whether it sends a {@link MemoryReport} now and then. */
  readonly reportsMemory?: boolean;
}

export interface MemoryReport {
  readonly rssBytes: number;
}

export const WORKER_SETTING = 'MESSAGING_CHAOS_WORKER';

/** Steps between two effects at which a process of that role may be told to die. */
export const FATAL_CHECKPOINTS: Readonly<Record<Role, readonly string[]>> = {
  producer: ['outbox.appended', 'sql.commit.before', 'sql.commit.after'],
  relay: ['outbox.claimed', 'outbox.published', 'outbox.settled', 'outbox.overdue', 'sql.commit.before'],
  consumer: [
    'outbox.consumer.handled',
    'outbox.consumer.committed',
    'outbox.acked',
    'bullmq.batch.handled',
    'bullmq.follow-ups.added',
  ],
};

/** Built, also for the specs that load this folder as it is: a child process is plain Node. */
export const WORKER_SCRIPT = createRequire(import.meta.url).resolve('#messaging-worker');

export function workerEnvironment(setting: WorkerSetting): Readonly<Record<string, string>> {
  return { [WORKER_SETTING]: JSON.stringify(setting) };
}
