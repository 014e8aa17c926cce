import { Incidents, monotonicMs } from '@lockstep/core';
import type { OutboxStore, ShardLease } from '../outbox-store.js';

/**
 * Owns a shard for as long as it can.
 *
 * ```
 * standby --lease free--> owner --renewed every third of the ttl--> owner
 *                         owner --not renewed in time | taken--> standby (reported)
 *                         owner --release--> standby
 * ```
 */
export class ShardOwnership {
  private lease: ShardLease | undefined;
  private nextStepAt = 0;

  constructor(
    private readonly name: string,
    private readonly ttlMs: number,
    private readonly store: OutboxStore,
    private readonly incidents: Incidents,
  ) {}

  get isOwner(): boolean {
    return this.lease?.isHeld() ?? false;
  }

  /** The lease, renewed or acquired where it is time to; undefined on standby. */
  async hold(): Promise<ShardLease | undefined> {
    if (this.lease?.isHeld() && !this.isTimeForNextStep()) return this.lease;
    if (this.lease && (await this.lease.renew())) return this.lease;
    if (this.lease) this.lost();
    if (!this.isTimeForNextStep()) return undefined;
    this.lease = await this.store.lease(this.name, this.ttlMs);
    return this.lease;
  }

  async release(): Promise<void> {
    const lease = this.lease;
    this.lease = undefined;
    await lease?.release();
  }

  private isTimeForNextStep(): boolean {
    const nowMs = monotonicMs();
    if (nowMs < this.nextStepAt) return false;
    this.nextStepAt = nowMs + this.ttlMs / 3;
    return true;
  }

  private lost(): void {
    this.lease = undefined;
    this.nextStepAt = 0;
    this.incidents.report({
      code: 'OUTBOX_SHARD_LOST',
      source: 'outbox.relay',
      message: `this process no longer owns ${this.name}; it was paused, or the database was away`,
    });
  }
}
