import pg from 'pg';

/** What a cup of `Mall.shelve` costs. */
export const CUP_CENTS = 900;

/** Takes what these merchants sold for paid, and dates it and up to when they were settled back, all at one moment. */
export function passDays(databaseUrl: string, days: number, merchants: readonly string[]): Promise<void> {
  const text = `WITH sold AS (
      UPDATE mall_order SET status = 'paid', placed_at = placed_at - $2 * interval '1 day' WHERE merchant_id = ANY($1)
    )
    UPDATE mall_merchant_account SET settled_through = settled_through - $2::int WHERE id = ANY($1)`;
  return execute(databaseUrl, text, [merchants, days]);
}

/** As the bank does when it fetches so many cups' worth of money from each. It takes it off what is there, without the lock. */
export async function payOut(
  databaseUrl: string,
  merchants: readonly string[],
  cups: readonly number[],
): Promise<void> {
  const text = `UPDATE mall_merchant_account a SET cents = a.cents - p.cents
    FROM unnest($1::text[], $2::bigint[]) AS p (id, cents) WHERE a.id = p.id`;
  await execute(databaseUrl, text, [merchants, cups.map((count) => count * CUP_CENTS)]);
}

/** One more order of each merchant beside those that he has, placed when they were. */
export const SELL_ONE_MORE = `INSERT INTO mall_order (id, buyer_id, request_id, sku, qty, total_cents, merchant_id, placed_at, status)
  SELECT DISTINCT ON (merchant_id) gen_random_uuid(), buyer_id, gen_random_uuid()::text, sku, 1, ${CUP_CENTS}, merchant_id,
    placed_at, 'paid' FROM mall_order WHERE merchant_id = ANY($1)`;

export function execute(databaseUrl: string, text: string, params: readonly unknown[]): Promise<void> {
  return connected(databaseUrl, async (database) => {
    await database.query(text, [...params]);
  });
}

export async function connected(databaseUrl: string, use: (database: pg.Client) => Promise<void>): Promise<void> {
  const database = new pg.Client(databaseUrl);
  try {
    await database.connect();
    await use(database);
  } finally {
    await database.end();
  }
}
