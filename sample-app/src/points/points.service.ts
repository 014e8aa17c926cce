import { OnMessage } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { ORDER_EVENTS, type OrderEvent } from '../orders/order.js';

const CENTS_PER_POINT = 100;

export interface PointsAccount {
  readonly points: number;
  readonly entries: number;
}

@Injectable()
export class PointsService {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  /** Points come with an order and go with its release, each in one transaction with the inbox row. */
  @OnMessage(ORDER_EVENTS, { consumer: 'points' })
  async follow({ kind, orderId, buyerId, totalCents }: OrderEvent): Promise<void> {
    const tx = this.sql.requireCurrent('points');
    if (kind === 'placed') {
      const points = Math.floor(totalCents / CENTS_PER_POINT);
      const text = 'INSERT INTO mall_points_entry (order_id, buyer_id, points) VALUES ($1, $2, $3)';
      await tx.execute(text, [orderId, buyerId, points]);
    }
    if (kind === 'released') await tx.execute('DELETE FROM mall_points_entry WHERE order_id = $1', [orderId]);
  }

  async accountOf(buyerId: string): Promise<PointsAccount> {
    const [account] = await this.sql.query<PointsAccount>(
      `SELECT coalesce(sum(points), 0)::int AS points, count(*)::int AS entries
       FROM mall_points_entry WHERE buyer_id = $1`,
      [buyerId],
    );
    return account ?? { points: 0, entries: 0 };
  }
}
