import { fencedRead, fencedUpdate } from '@lockstep/lock/sql';
import { Sql, type SqlTransaction } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import type { MerchantAccount } from './settlement.js';

const TABLE = 'mall_merchant_account';

/** Orders of days up to `$1` whose money has come and has not gone to the merchant. One that is paid later is due then. */
const IS_DUE = `settled_on IS NULL AND status = 'paid' AND placed_at < ($1::date + 1)::timestamp AT TIME ZONE 'UTC'`;

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

  /** Yesterday by the clock of the database, in UTC. An order of that day may still commit later. */
  async lastClosedDay(): Promise<string> {
    const [row] = await this.sql.query<{ day: string }>(
      `SELECT ((clock_timestamp() AT TIME ZONE 'UTC')::date - 1)::text AS day`,
    );
    if (!row) throw new Error('The database did not say which day it is');
    return row.day;
  }

  /** Those who have a day to be settled, or an order of a settled day that was committed after its settlement. */
  async listUnsettled(through: string): Promise<readonly string[]> {
    const rows = await this.sql.query<{ id: string }>(
      `SELECT id FROM ${TABLE} WHERE settled_through < $1::date
       UNION SELECT merchant_id FROM mall_order WHERE ${IS_DUE} ORDER BY id`,
      [through],
    );
    return rows.map(({ id }) => id);
  }

  /**
   * From now on nobody with a smaller fence can write the account.
   * @throws StaleFenceError when somebody with a greater one was here
   */
  async claim(id: string, fence: bigint): Promise<void> {
    await this.readCents(this.sql, id, fence);
  }

  /**
   * Pays every due order to the merchant, once: it is marked in the transaction that adds it. What others add to the
   * account or take from it stays: the sum is made of what the account holds while the transaction keeps its row.
   *
   * @returns what was added
   * @throws StaleFenceError when somebody with a greater fence was here since {@link claim}
   */
  pay(id: string, through: string, fence: bigint): Promise<number> {
    return this.sql.transaction(async (tx) => {
      // An instance that stands still in here loses its transaction, or the next one would wait for the row.
      await tx.execute(`SET LOCAL idle_in_transaction_session_timeout = '5s'`);
      const before = await this.readCents(tx, id, fence);
      const earned = await this.markPaid(tx, id, through);
      const set = { cents: before + earned, settled_through: through };
      assertFound(id, await fencedUpdate(tx, { table: TABLE, key: { id }, fence, set }));
      return earned;
    });
  }

  private async readCents(sql: Sql | SqlTransaction, id: string, fence: bigint): Promise<number> {
    const row = await fencedRead<{ cents: string }>(sql, { table: TABLE, key: { id }, fence, columns: ['cents'] });
    assertFound(id, row ? 1 : 0);
    return Number(row?.cents);
  }

  private async markPaid(tx: SqlTransaction, id: string, through: string): Promise<number> {
    const [paid] = await tx.query<{ cents: string }>(
      `WITH paid AS (
         UPDATE mall_order SET settled_on = $1::date WHERE merchant_id = $2 AND ${IS_DUE} RETURNING total_cents
       )
       SELECT coalesce(sum(total_cents), 0)::text AS cents FROM paid`,
      [through, id],
    );
    return Number(paid?.cents ?? 0);
  }
}

function assertFound(id: string, rows: number): void {
  if (rows !== 1) throw new Error(`The account ${id} has gone while it was settled`);
}
