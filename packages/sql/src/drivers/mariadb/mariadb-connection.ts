import { StoreUnavailableError } from '@lockstep/core';
import { StatementQueue } from '../statement-queue.js';
import { within as settledWithin } from '../within.js';
import type { ConnectionWatch } from './connection-watch.js';
import { type MariaDbPoolClient, physicalOf } from './mariadb-client.js';
import { endsConnection, MariaDbConnectionLostError, MariaDbTimeoutError } from './mariadb-errors.js';
import { type MariaDbResult, runStatement } from './mariadb-statement.js';

export type MariaDbSend = (text: string, params: readonly unknown[], timeoutMs: number) => Promise<MariaDbResult>;

/**
 * A connection on loan from the pool. open → given back | destroyed: it is destroyed when it has failed or when a
 * statement got no answer in time, because an answer that comes later would be taken for that of the next statement.
 */
export class MariaDbConnection {
  private readonly queue = new StatementQueue();
  private failure: Error | undefined;

  constructor(
    private readonly client: MariaDbPoolClient,
    private readonly watch: ConnectionWatch,
  ) {
    watch.lend(client, (error) => this.condemn(error));
  }

  /** The connection is gone; whatever is sent now is refused. */
  get isLost(): boolean {
    return this.failure !== undefined;
  }

  /** Rejects with what `mysql2` threw, or `MariaDbTimeoutError`. */
  run(text: string, params: readonly unknown[], timeoutMs: number): Promise<MariaDbResult> {
    return this.queue.add(() => this.send(text, params, timeoutMs));
  }

  /** Runs several statements with nothing between them, once all that came before have been answered. */
  inTurn<T>(work: (send: MariaDbSend) => Promise<T>): Promise<T> {
    return this.queue.add(() => work((text, params, timeoutMs) => this.send(text, params, timeoutMs)));
  }

  /** Its state is in doubt: it will be closed instead of being used again. */
  condemn(reason: Error): void {
    this.failure ??= reason;
  }

  giveBack(): void {
    if (this.failure === undefined) {
      this.watch.takeBack(this.client);
      this.client.release();
      return;
    }
    this.watch.dismiss(this.client);
    this.client.destroy();
    // The library only says goodbye: to a host that swallows packets the socket would keep this process alive.
    physicalOf(this.client).stream?.destroy?.();
  }

  private async send(text: string, params: readonly unknown[], timeoutMs: number): Promise<MariaDbResult> {
    if (this.failure) throw new MariaDbConnectionLostError(this.failure);
    try {
      return await within(timeoutMs, runStatement(this.client, text, params));
    } catch (error) {
      if (endsConnection(error)) this.condemn(error);
      throw error;
    }
  }
}

/** Rejects with `MariaDbTimeoutError` when `answer` does not settle in time. */
export function within<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
  return settledWithin(timeoutMs, answer, () => new MariaDbTimeoutError(timeoutMs));
}

/** The error for a caller: an outage in the terms of the house, everything else as it is. */
export function asStoreError(error: unknown, operation: string, outcome: 'not-applied' | 'unknown'): unknown {
  if (!endsConnection(error)) return error;
  return new StoreUnavailableError({ store: 'mariadb', operation, outcome, cause: error });
}
