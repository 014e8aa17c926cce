import { PeriodicTask } from '@lockstep/core';
import type { IdempotencyDatabase } from './idempotency-database.js';

/** Small, because an answer may be large and a statement has a second. */
const BATCH = 250;

export interface ExpiredRecordsInit {
  readonly everyMs: number;
  onError(cause: unknown): void;
}

/**
 * Deletes what has come to its end, batch after batch. Processes do so side by side: each passes over the rows that
 * another has in hand.
 */
export class ExpiredRecords {
  private readonly task: PeriodicTask;

  constructor(
    private readonly database: IdempotencyDatabase,
    init: ExpiredRecordsInit,
  ) {
    this.task = new PeriodicTask({ ...init, name: 'idempotency purge', run: () => this.pass() });
  }

  start(): void {
    this.task.start();
  }

  stop(): Promise<void> {
    return this.task.stop();
  }

  private async pass(): Promise<'again' | undefined> {
    const records = await this.database.step('idempotency.purge', (table) => table.purgeRecords(BATCH));
    const tokens = await this.database.step('idempotency.purge', (table) => table.purgeTokens(BATCH));
    return records === BATCH || tokens === BATCH ? 'again' : undefined;
  }
}
