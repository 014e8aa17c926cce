import { ConfigurationError, type Incidents, type ServerClock, StoreUnavailableError } from '@lockstep/core';
import { ClientReadiness } from './client/client-readiness.js';
import type { RedisClient } from './client/redis-client.js';
import { checkServer } from './server-check.js';

/**
 * Lets operations through to a server that is there and fit.
 *
 * ```
 * connecting --ready--> checking --fit--> open --connection lost or replaced--> connecting
 *                       checking --too old--> refusing --connection lost--> connecting
 *                       checking --no answer--> (checked again by the next operation)
 * ```
 */
export class ServerGate {
  /** True while nothing needs to be awaited: the way of nearly every operation. */
  isOpen = false;
  private checking: Promise<void> | undefined;
  /** How many connections there were before this one. */
  private lost = 0;
  private readonly readiness: ClientReadiness;

  constructor(
    private readonly client: RedisClient,
    private readonly call: RedisClient['call'],
    private readonly clock: ServerClock,
    timeoutMs: number,
    private readonly incidents: Incidents,
  ) {
    this.readiness = new ClientReadiness(client, timeoutMs);
    client.on('error', (cause) => this.report('the connection failed', cause));
    client.on('close', () => this.shut());
    client.on('ready', () => this.checkAhead());
  }

  /**
   * @throws StoreUnavailableError `not-applied` when no server answers within the command timeout
   * @throws ConfigurationError when the server is older than supported
   */
  async pass(operation: string): Promise<void> {
    try {
      if (!(await this.readiness.wait())) throw new Error('there is no connection');
      await this.check();
    } catch (cause) {
      if (cause instanceof ConfigurationError) throw cause;
      throw new StoreUnavailableError({ store: 'redis', operation, outcome: 'not-applied', cause });
    }
  }

  /** Connects anew; what is asked for from now on waits for the new connection. */
  replaceConnection(): void {
    this.shut();
    this.readiness.replaceConnection();
  }

  /** One check for a connection; one that got no answer is made again. */
  private check(): Promise<void> {
    this.checking ??= this.checkOnce();
    return this.checking;
  }

  private async checkOnce(): Promise<void> {
    const { lost } = this;
    const refusal = await this.lookAtServer(lost);
    // The answers of one server say nothing of the next.
    if (lost !== this.lost) throw new Error('the connection was lost while its server was checked');
    if (refusal) throw refusal;
    this.isOpen = this.client.status === 'ready';
  }

  private async lookAtServer(lost: number): Promise<ConfigurationError | undefined> {
    try {
      return await checkServer(this.call, this.clock, this.incidents);
    } catch (cause) {
      if (lost === this.lost) this.checking = undefined;
      throw cause;
    }
  }

  private checkAhead(): void {
    this.check().catch((cause: unknown) => this.report('the server could not be checked', cause));
  }

  private shut(): void {
    this.isOpen = false;
    this.checking = undefined;
    this.lost += 1;
  }

  private report(message: string, cause: unknown): void {
    this.incidents.report({ code: 'REDIS_CONNECTION', source: 'redis.connection', message, cause });
  }
}
