import { monotonicMs } from '@lockstep/core';
import type { Sql } from '../sql.service.js';
import { LEASE_STATEMENTS } from './lease-statements.js';

export interface RowLeaseInit {
  readonly name: string;
  readonly owner: string;
  readonly epoch: bigint;
  readonly ttlMs: number;
  /** Monotonic milliseconds, from before the statement was sent. */
  readonly deadline: number;
}

/**
 * Ownership of a name for a time.
 *
 * ```
 * held --deadline passes unrenewed--> expired --renewed before the server's own deadline--> held
 * held | expired --renewal refused--> lost
 * any --release--> released
 * ```
 * The server's deadline is not earlier than the local one, so nobody else owns the name while `isHeld()` is true. That
 * fails where the server's clock is set forward, or where the two clocks drift apart by more within one lease than the
 * statement took to arrive: keep leases short. What the lease cannot stop is a step that was begun while it was held: whatever it guards must compare the epoch.
 */
export class RowLease {
  readonly name: string;
  /** Token of this ownership, new with each acquisition. */
  readonly owner: string;
  /** Rises with every change of owner, and never falls: an older owner can be told by it. */
  readonly epoch: bigint;
  private readonly ttlMs: number;
  private deadline: number;
  private over = false;

  constructor(
    private readonly sql: Sql,
    init: RowLeaseInit,
  ) {
    this.name = init.name;
    this.owner = init.owner;
    this.epoch = init.epoch;
    this.ttlMs = init.ttlMs;
    this.deadline = init.deadline;
  }

  /** Whether the name is certainly still this owner's, by the local monotonic clock. */
  isHeld(): boolean {
    return !this.over && monotonicMs() < this.deadline;
  }

  /**
   * Begins the time anew. False when it was too late: the lease had expired or somebody else has it; it stays lost.
   *
   * @throws StoreUnavailableError when there is no answer; the lease then holds until its deadline
   */
  async renew(): Promise<boolean> {
    if (this.over) return false;
    const deadline = monotonicMs() + this.ttlMs;
    const { renew } = LEASE_STATEMENTS[this.sql.dialect];
    const renewed = await this.sql.execute(renew, [this.name, this.owner, this.epoch.toString(), this.ttlMs]);
    if (renewed === 0) this.over = true;
    else this.deadline = Math.max(this.deadline, deadline);
    return renewed > 0 && !this.over;
  }

  /**
   * Lets others have the name at once. Does nothing to the lease of another owner.
   *
   * @throws StoreUnavailableError when there is no answer; the name is then free when the time has passed
   */
  async release(): Promise<void> {
    this.over = true;
    const { release } = LEASE_STATEMENTS[this.sql.dialect];
    await this.sql.execute(release, [this.name, this.owner, this.epoch.toString()]);
  }
}
