import { randomUUID } from 'node:crypto';
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
  /** Writes over the connection whose writes are meant, for so many milliseconds. */
  write(marker: string, ttlMs: number, value: string): Promise<unknown>;
  /** Since when that connection stands, by the local monotonic clock. */
  connectedAt(): number;
  readonly commandTimeoutMs: number;
  report(cause: unknown): void;
}

/** How long a marker may stay; it is overwritten by each barrier. */
const MARKER_TTL_MS = 60_000;

/**
 * Tells whether writes that a server has answered are on enough of its replicas. It stands on a connection of its own,
 * because WAIT blocks the connection that asks. That one may lead to another server, after a failover for one: so the
 * connection of the writes writes a marker first, and the server that is asked must have it. Replication is one stream,
 * thus whoever has the marker has all that was executed before it. WAIT speaks of what its own connection wrote, which
 * therefore writes the marker again.
 *
 * ```
 * idle --pass()--> asking for all who came before it was sent --answer--> idle | asking for those who came meanwhile
 * ```
 */
export class ReplicaBarrier {
  private client: RedisClient | undefined;
  private readiness: ClientReadiness | undefined;
  private running: Promise<number> | undefined;
  private following: Promise<number> | undefined;
  private isClosed = false;

  constructor(
    private readonly open: () => RedisClient,
    private readonly marker: string,
    private readonly host: BarrierHost,
  ) {}

  /**
   * Resolves when enough replicas have everything that the server had executed before this call, of what was sent since
   * `sentAt`, by the local monotonic clock.
   *
   * @throws StoreUnavailableError `unknown` when they have not in time, nobody answers, or the connection is younger than
   *   `sentAt`, so that the server may be another: the write is on a master, and may be lost with it
   */
  async pass(sentAt: number): Promise<void> {
    const connectedAt = await this.round();
    if (connectedAt > sentAt) throw this.notReached(new Error('the connection was replaced since'));
  }

  close(): void {
    this.isClosed = true;
    this.client?.disconnect();
  }

  private round(): Promise<number> {
    // The round that is on its way may have written its marker before what the caller wants to be sure of.
    if (!this.running) return this.start();
    this.following ??= this.running.then(
      () => this.start(),
      () => this.start(),
    );
    return this.following;
  }

  private start(): Promise<number> {
    this.following = undefined;
    const round = this.ask().finally(() => {
      if (this.running === round) this.running = undefined;
    });
    this.running = round;
    return round;
  }

  /** Since when the connection of the writes stands whose server's replicas have the marker. */
  private async ask(): Promise<number> {
    const { replicas, timeoutMs } = this.host;
    const seal = randomUUID();
    let reached: number;
    let connectedAt: number;
    try {
      await this.host.write(this.marker, MARKER_TTL_MS, seal);
      connectedAt = this.host.connectedAt();
      reached = await this.replicasOf(seal);
    } catch (cause) {
      throw this.notReached(cause);
    }
    if (reached < replicas) {
      throw this.notReached(new Error(`${reached} of ${replicas} replicas have it after ${timeoutMs} ms`));
    }
    return connectedAt;
  }

  private async replicasOf(seal: string): Promise<number> {
    const { replicas, timeoutMs } = this.host;
    const client = await this.connected();
    const [found, , reached] = await Promise.all([
      client.call('get', [this.marker]),
      client.call('psetex', [this.marker, MARKER_TTL_MS, seal]),
      client.call('wait', [replicas, timeoutMs]),
    ]);
    if (found !== seal) {
      // It may lead to the right one next time.
      this.readiness?.replaceConnection();
      throw new Error('the connection that asks for replicas leads to another server');
    }
    return Number(reached);
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
