import { OnMessage } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { ORDER_PLACED, type OrderPlaced } from '../orders/order.js';

const CENTS_PER_POINT = 100;

export interface PointsAccount {
  readonly points: number;
  readonly entries: number;
}

@Injectable()
export class PointsService {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  /** Grants the points of an order, in one transaction with the inbox row that makes it happen once. */
  @OnMessage(ORDER_PLACED, { consumer: 'points' })
  async grant({ orderId, buyerId, totalCents }: OrderPlaced): Promise<void> {
    const tx = this.sql.requireCurrent('granting points');
    await tx.execute('INSERT INTO mall_points_entry (order_id, buyer_id, points) VALUES ($1, $2, $3)', [
      orderId,
      buyerId,
      Math.floor(totalCents / CENTS_PER_POINT),
    ]);
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
