import { StoreUnavailableError } from '@lockstep/core';
import { ClientReadiness } from './client/client-readiness.js';
import type { RedisClient } from './client/redis-client.js';

export interface ReplicaBarrierOptions {
  /** How many replicas must have a write before it counts. */
  readonly replicas: number;
  /** How long the server may wait for them. */
  readonly timeoutMs: number;
}

interface BarrierHost extends ReplicaBarrierOptions {
  readonly commandTimeoutMs: number;
  report(cause: unknown): void;
}

/** How long a marker may stay; it is overwritten by each barrier. */
const MARKER_TTL_MS = 60_000;

/**
 * Tells whether writes that a server has answered are on enough of its replicas. It stands on a connection of its own,
 * because WAIT blocks the connection that asks, and WAIT speaks of what that connection wrote: so it writes a marker
 * first. Replication is one stream, thus a replica that has the marker has all that was executed before it.
 *
 * ```
 * idle --pass()--> asking for all who came before it was sent --answer--> idle | asking for those who came meanwhile
 * ```
 */
export class ReplicaBarrier {
  private client: RedisClient | undefined;
  private readiness: ClientReadiness | undefined;
  private running: Promise<void> | undefined;
  private following: Promise<void> | undefined;
  private isClosed = false;

  constructor(
    private readonly open: () => RedisClient,
    private readonly marker: string,
    private readonly host: BarrierHost,
  ) {}

  /**
   * Resolves when enough replicas have everything that the server had executed before this call.
   *
   * @throws StoreUnavailableError `unknown` when they have not in time, or nobody answers: the write is on the master,
   *   and may be lost with it
   */
  pass(): Promise<void> {
    // The round that is on its way may have written its marker before what the caller wants to be sure of.
    if (!this.running) return this.start();
    this.following ??= this.running.then(
      () => this.start(),
      () => this.start(),
    );
    return this.following;
  }

  close(): void {
    this.isClosed = true;
    this.client?.disconnect();
  }

  private start(): Promise<void> {
    this.following = undefined;
    const round = this.ask().finally(() => {
      if (this.running === round) this.running = undefined;
    });
    this.running = round;
    return round;
  }

  private async ask(): Promise<void> {
    const { replicas, timeoutMs } = this.host;
    let reached: number;
    try {
      const client = await this.connected();
      const marked = client.call('psetex', [this.marker, MARKER_TTL_MS, '1']);
      const waited = client.call('wait', [replicas, timeoutMs]);
      const [, answer] = await Promise.all([marked, waited]);
      reached = Number(answer);
    } catch (cause) {
      throw this.notReached(cause);
    }
    if (reached < replicas) {
      throw this.notReached(new Error(`${reached} of ${replicas} replicas have it after ${timeoutMs} ms`));
    }
  }

  private async connected(): Promise<RedisClient> {
    if (this.isClosed) throw new Error('the connection is closed');
    if (!this.client || !this.readiness) {
      this.client = this.open();
      this.client.on('error', (cause) => this.host.report(cause));
      this.readiness = new ClientReadiness(this.client, this.host.commandTimeoutMs);
    }
    if (!(await this.readiness.wait())) throw new Error('there is no connection');
    return this.client;
  }

  private notReached(cause: unknown): StoreUnavailableError {
    return new StoreUnavailableError({ store: 'redis', operation: 'replicate', outcome: 'unknown', cause });
  }
}
