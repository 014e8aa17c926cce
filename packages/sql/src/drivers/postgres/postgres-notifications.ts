import { AsyncResource } from 'node:async_hooks';
import { type Incidents, PeriodicTask } from '@lockstep/core';
import type { NotificationListener } from '../../sql-driver.js';
import { StatementQueue } from '../statement-queue.js';
import { asStoreError, type PgConnection } from './pg-connection.js';
import { PgConnectionLostError } from './pg-errors.js';

/** How often a connection that says nothing is asked whether it is still there; the longest pause between two attempts. */
const PULSE_MS = 5_000;
/** For what nobody waits for: a pulse, a reconnection. */
const PULSE_TIMEOUT_MS = 2_000;

const CLOSED = new Error('the driver was closed');

/**
 * What the server announces by NOTIFY, on one connection for all channels.
 *
 * ```
 * idle --listen--> open --lost | no answer to a pulse--> reconnecting --connected--> open (every listener is told once)
 * any --close--> closed
 * ```
 */
export class PostgresNotifications {
  private readonly channels = new Map<string, Set<NotificationListener>>();
  /** Channels that the connection of now listens to. */
  private readonly heard = new Set<string>();
  private readonly turns = new StatementQueue();
  private readonly keeper: PeriodicTask;
  // Connection and loop are nobody's: neither in the transaction nor in the trace of whoever listens first.
  private readonly outside = new AsyncResource('PostgresNotifications');
  private connection: PgConnection | undefined;
  private wasOpen = false;
  private isClosed = false;

  /** @param connect takes a connection that nobody else will use */
  constructor(
    private readonly connect: (timeoutMs: number) => Promise<PgConnection>,
    private readonly incidents: Incidents,
  ) {
    this.keeper = new PeriodicTask({
      name: 'postgres notifications',
      everyMs: PULSE_MS,
      run: () => this.keep(),
      onError: (cause) => this.report('Nothing is heard until the server answers again', cause),
    });
  }

  /** @throws StoreUnavailableError when the server does not answer in time */
  async listen(channel: string, listener: NotificationListener, timeoutMs: number): Promise<() => void> {
    // One of its own, so that the same function may listen twice.
    const own: NotificationListener = (payload) => listener(payload);
    this.add(channel, own);
    try {
      await this.outside.runInAsyncScope(() => this.turns.add(() => this.open(timeoutMs)));
    } catch (error) {
      this.remove(channel, own);
      throw asStoreError(error, 'sql.listen', 'not-applied');
    }
    this.outside.runInAsyncScope(() => this.keeper.start());
    return () => this.remove(channel, own);
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.channels.clear();
    await this.keeper.stop();
    // After a connection that is just being made: who closes the pool would wait for it for ever.
    await this.turns.add(async () => this.drop(CLOSED));
  }

  /** One pass of the loop: connects again where the connection was lost, else asks it whether it is there. */
  private keep(): Promise<undefined> {
    return this.turns.add(async () => {
      if (this.channels.size === 0) return undefined;
      if (this.connection) await this.run(this.connection, 'SELECT 1', PULSE_TIMEOUT_MS);
      await this.open(PULSE_TIMEOUT_MS);
      return undefined;
    });
  }

  private async open(timeoutMs: number): Promise<void> {
    if (this.isClosed) throw new PgConnectionLostError(CLOSED);
    const isNew = this.connection === undefined;
    const connection = this.connection ?? (await this.connected(timeoutMs));
    if (this.isClosed) throw new PgConnectionLostError(CLOSED);
    for (const channel of this.channels.keys()) {
      if (this.heard.has(channel)) continue;
      await this.run(connection, `LISTEN "${channel}"`, timeoutMs);
      this.heard.add(channel);
    }
    if (isNew && this.wasOpen) this.tellAll();
    this.wasOpen = true;
  }

  private async connected(timeoutMs: number): Promise<PgConnection> {
    const connection = await this.connect(timeoutMs);
    connection.onNotification((channel, payload) => this.tell(channel, payload ?? ''));
    connection.onLost((cause) => this.lose(connection, cause));
    this.connection = connection;
    return connection;
  }

  private async run(connection: PgConnection, text: string, timeoutMs: number): Promise<void> {
    try {
      await connection.run(text, [], timeoutMs);
    } catch (error) {
      // Whatever it was: what is not known to listen may not listen.
      this.drop(error as Error);
      throw error;
    }
  }

  private lose(connection: PgConnection, cause: Error): void {
    if (this.connection !== connection) return;
    this.drop(cause);
    this.report('The connection was lost; it is opened again at once', cause);
    this.keeper.wake();
  }

  private drop(reason: Error): void {
    const { connection } = this;
    this.connection = undefined;
    this.heard.clear();
    connection?.condemn(reason);
    connection?.giveBack();
  }

  private add(channel: string, listener: NotificationListener): void {
    const listeners = this.channels.get(channel) ?? new Set();
    this.channels.set(channel, listeners);
    listeners.add(listener);
  }

  /** A channel that nobody listens to any more is given up with the connection. */
  private remove(channel: string, listener: NotificationListener): void {
    const listeners = this.channels.get(channel);
    listeners?.delete(listener);
    if (listeners?.size === 0) this.channels.delete(channel);
  }

  private tellAll(): void {
    for (const channel of this.channels.keys()) this.tell(channel, undefined);
  }

  private tell(channel: string, payload: string | undefined): void {
    for (const listener of [...(this.channels.get(channel) ?? [])]) {
      try {
        listener(payload);
      } catch (cause) {
        this.report('A listener threw', cause);
      }
    }
  }

  private report(message: string, cause: unknown): void {
    this.incidents.report({ code: 'SQL_NOTIFICATIONS', source: 'sql.postgres', message, cause });
  }
}
