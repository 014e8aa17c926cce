import { Sql, type SqlTransaction } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import type { ListedOrder, Order, OrderEvent, OrderStatus, PlaceOrder, Quote } from './order.js';

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

  listOf(buyerId: string): Promise<ListedOrder[]> {
    return this.sql.query<ListedOrder>(
      `SELECT ${COLUMNS}, status FROM mall_order WHERE buyer_id = $1 ORDER BY placed_at DESC LIMIT 100`,
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

  /** The order, which nobody else changes before the end of the transaction; undefined when it is paid or released. */
  async lockUnpaid(tx: SqlTransaction, id: string): Promise<Omit<OrderEvent, 'kind'> | undefined> {
    const [order] = await tx.query<Omit<OrderEvent, 'kind'>>(
      `SELECT id::text AS "orderId", buyer_id AS "buyerId", sku, qty, total_cents AS "totalCents"
       FROM mall_order WHERE id = $1::uuid AND status = 'placed' FOR UPDATE`,
      [id],
    );
    return order;
  }

  /** Of an order that is locked: a payment begins only with the order's row in hand. */
  async isBeingPaid(tx: SqlTransaction, id: string): Promise<boolean> {
    const text = `SELECT 1 FROM mall_payment WHERE order_id = $1::uuid AND status <> 'void'`;
    return (await tx.query(text, [id])).length > 0;
  }

  async statusOf(tx: SqlTransaction, id: string): Promise<OrderStatus | undefined> {
    const text = 'SELECT status FROM mall_order WHERE id = $1::uuid';
    const [order] = await tx.query<{ readonly status: OrderStatus }>(text, [id]);
    return order?.status;
  }

  async setStatus(tx: SqlTransaction, id: string, status: OrderStatus): Promise<void> {
    await tx.execute('UPDATE mall_order SET status = $2 WHERE id = $1::uuid', [id, status]);
  }
}
