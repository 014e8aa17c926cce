import { randomUUID } from 'node:crypto';
import { ConfigurationError, durationMs, monotonicMs } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { Sql } from '../sql.service.js';
import { RowLease } from './row-lease.js';

// One statement, so that of two who find the lease expired one is refused: the second waits for the row and looks again.
const TAKE = `INSERT INTO lockstep_lease AS held (name, owner, epoch, lease_until)
  VALUES ($1, $2::uuid, 1, clock_timestamp() + $3 * interval '1 millisecond')
  ON CONFLICT (name) DO UPDATE
    SET owner = excluded.owner, epoch = held.epoch + 1, lease_until = excluded.lease_until
    WHERE held.lease_until <= clock_timestamp()
  RETURNING epoch::text AS epoch`;

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
    const [row] = await this.sql.query<{ epoch: string }>(TAKE, [name, owner, ttlMs]);
    return row && new RowLease(this.sql, { name, owner, epoch: BigInt(row.epoch), ttlMs, deadline });
  }

  /** Sees to it that the table is there; see {@link Sql.ensureMigrated}. */
  prepare(): Promise<void> {
    return this.sql.ensureMigrated({
      name: 'lease',
      directory: new URL(`./migrations/${this.sql.dialect}/`, import.meta.url),
    });
  }
}
