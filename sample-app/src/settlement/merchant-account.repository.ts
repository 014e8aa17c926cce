import { fencedRead, fencedUpdate } from '@lockstep/lock/sql';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import type { MerchantAccount } from './settlement.js';

const TABLE = 'mall_merchant_account';

@Injectable()
export class MerchantAccountRepository {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  async find(id: string): Promise<MerchantAccount | undefined> {
    const [account] = await this.sql.query<{ id: string; cents: string; settledThrough: string }>(
      `SELECT id, cents::text AS cents, settled_through::text AS "settledThrough" FROM ${TABLE} WHERE id = $1`,
      [id],
    );
    return account && { ...account, cents: Number(account.cents) };
  }

  /** The last day that nothing can be added to: for an hour after it, orders that were begun on it may still commit. */
  async lastClosedDay(): Promise<string> {
    const [row] = await this.sql.query<{ day: string }>(
      `SELECT (((clock_timestamp() - interval '1 hour') AT TIME ZONE 'UTC')::date - 1)::text AS day`,
    );
    if (!row) throw new Error('The database did not say which day it is');
    return row.day;
  }

  async listUnsettled(through: string): Promise<readonly string[]> {
    const rows = await this.sql.query<{ id: string }>(
      `SELECT id FROM ${TABLE} WHERE settled_through < $1::date ORDER BY id`,
      [through],
    );
    return rows.map(({ id }) => id);
  }

  /**
   * What the account holds. From now on nobody with a smaller fence can write it.
   * @throws StaleFenceError when somebody with a greater one was here
   */
  async readCents(id: string, fence: bigint): Promise<number> {
    const row = await fencedRead<{ cents: string }>(this.sql, { table: TABLE, key: { id }, fence, columns: ['cents'] });
    if (!row) throw new Error(`The account ${id} has gone while it was settled`);
    return Number(row.cents);
  }

  /** What was ordered from the merchant since the day up to which the account is settled. */
  async earnedCents(id: string, through: string): Promise<number> {
    const [row] = await this.sql.query<{ cents: string }>(
      `SELECT coalesce(sum(o.total_cents), 0)::text AS cents
       FROM ${TABLE} a JOIN mall_order o ON o.merchant_id = a.id
        AND o.placed_at >= (a.settled_through + 1)::timestamp AT TIME ZONE 'UTC'
        AND o.placed_at < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
       WHERE a.id = $1`,
      [id, through],
    );
    return Number(row?.cents ?? 0);
  }

  /** @throws StaleFenceError when somebody with a greater fence was here since {@link readCents} */
  async write({ id, cents, settledThrough }: MerchantAccount, fence: bigint): Promise<void> {
    await fencedUpdate(this.sql, { table: TABLE, key: { id }, fence, set: { cents, settled_through: settledThrough } });
  }
}
