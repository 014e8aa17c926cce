import { OnMessage } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { ORDER_EVENTS, type OrderEvent } from '../orders/order.js';

const CENTS_PER_COUPON_CENT = 20;
const LEAST_ORDER_CENTS = 2_000;

export interface Coupon {
  readonly orderId: string;
  readonly cents: number;
}

@Injectable()
export class CouponsService {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  /** An order of 20 and more earns a coupon for the next one; its release takes it back. */
  @OnMessage(ORDER_EVENTS, { consumer: 'coupons' })
  async follow({ kind, orderId, buyerId, totalCents }: OrderEvent): Promise<void> {
    const tx = this.sql.requireCurrent('coupons');
    if (kind === 'placed' && totalCents >= LEAST_ORDER_CENTS) {
      const cents = Math.floor(totalCents / CENTS_PER_COUPON_CENT);
      const text = 'INSERT INTO mall_coupon (order_id, buyer_id, cents) VALUES ($1, $2, $3)';
      await tx.execute(text, [orderId, buyerId, cents]);
    }
    if (kind === 'released') await tx.execute('DELETE FROM mall_coupon WHERE order_id = $1', [orderId]);
  }

  listOf(buyerId: string): Promise<Coupon[]> {
    const text = 'SELECT order_id::text AS "orderId", cents FROM mall_coupon WHERE buyer_id = $1 ORDER BY order_id';
    return this.sql.query<Coupon>(text, [buyerId]);
  }
}
