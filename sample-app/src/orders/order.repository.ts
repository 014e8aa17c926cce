import { Sql, type SqlTransaction } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import type { Order, PlaceOrder, Quote } from './order.js';

const COLUMNS = 'id, sku, qty, total_cents AS "totalCents"';

@Injectable()
export class OrderRepository {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  async findByRequest(buyerId: string, requestId: string): Promise<Order | undefined> {
    const [order] = await this.sql.query<Order>(
      `SELECT ${COLUMNS} FROM mall_order WHERE buyer_id = $1 AND request_id = $2`,
      [buyerId, requestId],
    );
    return order;
  }

  listOf(buyerId: string): Promise<Order[]> {
    return this.sql.query<Order>(
      `SELECT ${COLUMNS} FROM mall_order WHERE buyer_id = $1 ORDER BY placed_at DESC LIMIT 100`,
      [buyerId],
    );
  }

  /** What so many pieces would cost now; undefined for a product that does not exist. */
  async quote(sku: string, qty: number): Promise<Quote | undefined> {
    const [quote] = await this.sql.query<Quote>(
      'SELECT sku, $2::int AS qty, price_cents * $2::int AS "totalCents" FROM mall_product WHERE sku = $1',
      [sku, qty],
    );
    return quote;
  }

  async hasProduct(sku: string): Promise<boolean> {
    const found = await this.sql.query('SELECT 1 FROM mall_product WHERE sku = $1', [sku]);
    return found.length > 0;
  }

  /** Writes the order at the product's price; undefined when this request has its order already. */
  async insert(
    tx: SqlTransaction,
    id: string,
    { buyerId, requestId, sku, qty }: PlaceOrder,
  ): Promise<Order | undefined> {
    const [order] = await tx.query<Order>(
      `INSERT INTO mall_order (id, buyer_id, request_id, sku, qty, total_cents, merchant_id)
       SELECT $1::uuid, $2, $3, sku, $5::int, price_cents * $5::int, merchant_id FROM mall_product WHERE sku = $4
       ON CONFLICT (buyer_id, request_id) DO NOTHING
       RETURNING ${COLUMNS}`,
      [id, buyerId, requestId, sku, qty],
    );
    return order;
  }
}
