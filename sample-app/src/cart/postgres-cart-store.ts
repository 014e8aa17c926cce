import type { Sql, SqlTransaction } from '@lockstep/sql';
import { type CartLines, changedLines } from './cart.js';
import { CART_TTL_MS, type CartChange, type CartStore, CHANGE_TTL_MS } from './cart-store.js';

interface Row {
  readonly lines: string;
}

const LIVE = `changed_at > clock_timestamp() - $2 * interval '1 ms'`;

/** One row for each customer, for a mall without Redis. The row is the lock of its cart. */
export class PostgresCartStore implements CartStore {
  constructor(private readonly sql: Sql) {}

  async read(customer: string): Promise<CartLines> {
    const text = `SELECT lines::text FROM mall_cart WHERE customer_id = $1 AND ${LIVE}`;
    const [row] = await this.sql.query<Row>(text, [customer, CART_TTL_MS]);
    return linesOf(row);
  }

  change({ customer, pieces, isStrict = false, once }: CartChange): Promise<CartLines | 'full'> {
    return this.sql.transaction(async (tx) => {
      const lines = await locked(tx, customer);
      if (once !== undefined && (await isMade(tx, customer, once))) return lines;
      const changed = changedLines(lines, pieces, isStrict);
      if (!changed) return 'full';
      const text = 'UPDATE mall_cart SET lines = $2::jsonb, changed_at = clock_timestamp() WHERE customer_id = $1';
      await tx.execute(text, [customer, JSON.stringify(changed)]);
      if (once !== undefined) await note(tx, customer, once);
      return changed;
    });
  }
}

/** The lines, and their row until the end of the transaction. */
async function locked(tx: SqlTransaction, customer: string): Promise<CartLines> {
  await tx.execute('INSERT INTO mall_cart (customer_id) VALUES ($1) ON CONFLICT DO NOTHING', [customer]);
  const text = `SELECT CASE WHEN ${LIVE} THEN lines ELSE '{}' END::text AS lines
    FROM mall_cart WHERE customer_id = $1 FOR UPDATE`;
  const [row] = await tx.query<Row>(text, [customer, CART_TTL_MS]);
  return linesOf(row);
}

async function isMade(tx: SqlTransaction, customer: string, name: string): Promise<boolean> {
  const text = 'SELECT 1 FROM mall_cart_change WHERE customer_id = $1 AND name = $2';
  return (await tx.query(text, [customer, name])).length > 0;
}

async function note(tx: SqlTransaction, customer: string, name: string): Promise<void> {
  const old = `DELETE FROM mall_cart_change
    WHERE customer_id = $1 AND made_at < clock_timestamp() - $2 * interval '1 ms'`;
  await tx.execute(old, [customer, CHANGE_TTL_MS]);
  await tx.execute('INSERT INTO mall_cart_change (customer_id, name) VALUES ($1, $2)', [customer, name]);
}

function linesOf(row: Row | undefined): CartLines {
  return row ? (JSON.parse(row.lines) as CartLines) : {};
}
