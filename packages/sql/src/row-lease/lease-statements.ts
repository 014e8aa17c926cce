import type { SqlDialect } from '../sql-transaction.js';

export interface LeaseStatements {
  /**
   * One statement, so that of two who find the lease expired one is refused: the second waits for the row and looks
   * again. Gives the `owner` and the `epoch` of the lease, or no row, when it is another's. `$1` name, `$2` owner,
   * `$3` milliseconds.
   */
  readonly take: string;
  /** Touches a row if the lease is live. `$1` name, `$2` owner, `$3` epoch, `$4` milliseconds. */
  readonly renew: string;
  /** `$1` name, `$2` owner, `$3` epoch. */
  readonly release: string;
}

const POSTGRES: LeaseStatements = {
  take: `INSERT INTO lockstep_lease AS held (name, owner, epoch, lease_until)
  VALUES ($1, $2::uuid, 1, clock_timestamp() + $3 * interval '1 millisecond')
  ON CONFLICT (name) DO UPDATE
    SET owner = excluded.owner, epoch = held.epoch + 1, lease_until = excluded.lease_until
    WHERE held.lease_until <= clock_timestamp()
  RETURNING owner::text AS owner, epoch::text AS epoch`,
  renew: `UPDATE lockstep_lease SET lease_until = clock_timestamp() + $4 * interval '1 millisecond'
  WHERE name = $1 AND owner = $2::uuid AND epoch = $3::bigint AND lease_until > clock_timestamp()`,
  release: `UPDATE lockstep_lease SET lease_until = '-infinity'
  WHERE name = $1 AND owner = $2::uuid AND epoch = $3::bigint`,
};

// The time is that of the statement's start, which is the same for all of the row and never later than now: a lease that
// runs out while the statement waits for the row is left alone, and one that is granted begins after it was asked for.
// lease_until comes last, because the assignments before it must see the old one.
const MARIADB: LeaseStatements = {
  take: `INSERT INTO lockstep_lease (name, owner, epoch, lease_until)
  VALUES ($1, $2, 1, UTC_TIMESTAMP(6) + INTERVAL $3 * 1000 MICROSECOND)
  ON DUPLICATE KEY UPDATE
    owner = IF(lease_until <= UTC_TIMESTAMP(6), VALUES(owner), owner),
    epoch = IF(lease_until <= UTC_TIMESTAMP(6), epoch + 1, epoch),
    lease_until = IF(lease_until <= UTC_TIMESTAMP(6), VALUES(lease_until), lease_until)
  RETURNING owner, CAST(epoch AS CHAR) AS epoch`,
  renew: `UPDATE lockstep_lease SET lease_until = UTC_TIMESTAMP(6) + INTERVAL $4 * 1000 MICROSECOND
  WHERE name = $1 AND owner = $2 AND epoch = $3 AND lease_until > UTC_TIMESTAMP(6)`,
  release: `UPDATE lockstep_lease SET lease_until = '1000-01-01'
  WHERE name = $1 AND owner = $2 AND epoch = $3`,
};

export const LEASE_STATEMENTS: Readonly<Record<SqlDialect, LeaseStatements>> = { postgres: POSTGRES, mariadb: MARIADB };
