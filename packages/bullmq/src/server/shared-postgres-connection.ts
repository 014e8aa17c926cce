import { type PgPool, PostgresConnection } from 'bullmq';
import type { Latch } from './latch.js';

/**
 * BullMQ's connection over a pool that all queues share. Instead of connecting once and remembering the outcome for
 * ever, it waits until the server is usable, as an ioredis client with an offline queue does.
 */
export class SharedPostgresConnection extends PostgresConnection {
  override readonly schema: string;
  private leave: () => void = () => undefined;
  private readonly left = new Promise<void>((resolve) => {
    this.leave = resolve;
  });

  constructor(
    pool: PgPool,
    schema: string,
    private readonly ready: Latch,
  ) {
    super(pool);
    this.schema = schema;
  }

  /** Also ends when this connection closes while the server is down, so that a worker can stop then. */
  override async waitUntilReady(): Promise<void> {
    if (this.ready.isOpen) return;
    await Promise.race([this.ready.whenOpen(), this.left]);
    if (!this.ready.isOpen) throw new Error('Connection is closed.');
  }

  override close(): Promise<void> {
    this.leave();
    return super.close();
  }
}
