import { randomUUID } from 'node:crypto';
import { ConfigurationError, durationMs, monotonicMs } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { Sql } from '../sql.service.js';
import { LEASE_STATEMENTS } from './lease-statements.js';
import { RowLease } from './row-lease.js';

const MAX_NAME_LENGTH = 200;
const TTL = { minMs: 50, maxMs: 86_400_000 };

/**
 * Ownership of rows, shards and roles between processes, by the clock of the database. For work that repeats anyway when
 * it was interrupted; a critical section of the application is a matter of `@lockstep/lock`.
 */
@Injectable()
export class RowLeases {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  /**
   * Takes `name` if nobody has it, or whoever had it let it expire; undefined when it is another's.
   *
   * @param name at most 200 characters; from a bounded set, because its row stays
   * @param ttlMs from 50 ms to one day; renew it in time
   * @throws StoreUnavailableError when there is no answer; had the lease been taken, it expires by itself
   */
  async tryAcquire(name: string, ttlMs: number): Promise<RowLease | undefined> {
    if (typeof name !== 'string' || name.length === 0 || name.length > MAX_NAME_LENGTH || name.includes('\0')) {
      throw ConfigurationError.option('name', name, `a text of 1 to ${MAX_NAME_LENGTH} characters`);
    }
    durationMs(ttlMs, 'ttlMs', TTL);
    await this.prepare();
    const owner = randomUUID();
    const deadline = monotonicMs() + ttlMs;
    const { take } = LEASE_STATEMENTS[this.sql.dialect];
    const [row] = await this.sql.query<{ owner: string; epoch: string }>(take, [name, owner, ttlMs]);
    if (row?.owner !== owner) return undefined;
    return new RowLease(this.sql, { name, owner, epoch: BigInt(row.epoch), ttlMs, deadline });
  }

  /** Sees to it that the table is there; see {@link Sql.ensureMigrated}. */
  prepare(): Promise<void> {
    return this.sql.ensureMigrated({
      name: 'lease',
      directory: new URL(`./migrations/${this.sql.dialect}/`, import.meta.url),
    });
  }
}
