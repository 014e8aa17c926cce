import { monotonicMs, StoreUnavailableError } from '@lockstep/core';
import { StatementQueue } from '../statement-queue.js';
import { within as settledWithin } from '../within.js';
import { lastResult, type PgPoolClient, type PgResult } from './pg-client.js';
import { endsConnection, PgConnectionLostError, PgTimeoutError } from './pg-errors.js';

/** Sends one statement; rejects with what `pg` threw, or `PgTimeoutError`. */
export type PgSender = (text: string, params: readonly unknown[], timeoutMs: number) => Promise<PgResult>;

/** Of clients in the pool: when the last loan ended. */
const givenBackAtMs = new WeakMap<PgPoolClient, number>();

/**
 * A client on loan from the pool. open → given back | destroyed: it is destroyed when it has failed or when a statement
 * got no answer in time, because an answer that comes later would be taken for that of the next statement.
 */
export class PgConnection {
  private readonly queue = new StatementQueue();
  private failure: Error | undefined;
  // While it is on loan nobody else listens, and an 'error' event without a listener ends the process.
  private readonly onError = (error: Error): void => {
    this.condemn(error);
    this.onLoss?.(error);
  };
  private onLoss: ((cause: Error) => void) | undefined;
  private isGivenBack = false;

  constructor(private readonly client: PgPoolClient) {
    client.on('error', this.onError);
  }

  /** The connection is gone; whatever is sent now is refused. */
  get isLost(): boolean {
    return this.failure !== undefined;
  }

  /** Since it was last on loan; endless for a new one. */
  get idleMs(): number {
    return monotonicMs() - (givenBackAtMs.get(this.client) ?? Number.NEGATIVE_INFINITY);
  }

  /** Rejects with what `pg` threw, or `PgTimeoutError`. */
  run(text: string, params: readonly unknown[], timeoutMs: number): Promise<PgResult> {
    return this.queue.add(() => this.send(text, params, timeoutMs));
  }

  /** Runs `statements` as if they were one: what others send meanwhile comes behind them. */
  inTurn<T>(statements: (send: PgSender) => Promise<T>): Promise<T> {
    return this.queue.add(() => statements((text, params, timeoutMs) => this.send(text, params, timeoutMs)));
  }

  /** Its state is in doubt: it will be closed instead of being used again. */
  condemn(reason: Error): void {
    this.failure ??= reason;
  }

  /** Calls `fn` when the connection breaks while nothing is asked of it. */
  onLost(fn: (cause: Error) => void): void {
    this.onLoss = fn;
  }

  /** Calls `fn` with what is announced on the channels that the connection listens to, until it is given back. */
  onNotification(fn: (channel: string, payload: string | undefined) => void): void {
    this.client.on('notification', ({ channel, payload }) => {
      if (!this.isGivenBack) fn(channel, payload);
    });
  }

  giveBack(): void {
    this.isGivenBack = true;
    givenBackAtMs.set(this.client, monotonicMs());
    // In this order: the pool puts its own listener on before ours goes.
    this.client.release(this.failure);
    this.client.removeListener('error', this.onError);
  }

  private async send(text: string, params: readonly unknown[], timeoutMs: number): Promise<PgResult> {
    if (this.failure) throw new PgConnectionLostError(this.failure);
    try {
      return lastResult(await within(timeoutMs, this.client.query(text, [...params])));
    } catch (error) {
      if (endsConnection(error)) this.condemn(error);
      throw error;
    }
  }
}

/** Rejects with `PgTimeoutError` when `answer` does not settle in time; what it does later is of no interest then. */
export function within<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
  return settledWithin(timeoutMs, answer, () => new PgTimeoutError(timeoutMs));
}

/** The error for a caller: an outage in the terms of the house, everything else as it is. */
export function asStoreError(error: unknown, operation: string, outcome: 'not-applied' | 'unknown'): unknown {
  if (!endsConnection(error)) return error;
  return new StoreUnavailableError({ store: 'postgres', operation, outcome, cause: error });
}
