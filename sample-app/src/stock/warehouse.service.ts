import { OnMessage } from '@lockstep/outbox';
import { Sql, type SqlTransaction } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { ORDER_EVENTS, type OrderEvent } from '../orders/order.js';
import { StockService } from './stock.service.js';

/** What the warehouse does with the pieces of an order: laid aside --paid--> packed, or --released--> back. */
@Injectable()
export class WarehouseService {
  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(StockService) private readonly stock: StockService,
  ) {}

  @OnMessage(ORDER_EVENTS, { consumer: 'stock' })
  async follow({ kind, orderId, sku, qty }: OrderEvent): Promise<void> {
    const tx = this.sql.requireCurrent('the warehouse');
    if (kind === 'placed') {
      const text = `INSERT INTO mall_pick (order_id, sku, qty, status) VALUES ($1, $2, $3, 'laid-aside')`;
      await tx.execute(text, [orderId, sku, qty]);
      return;
    }
    await this.finish(tx, orderId, kind === 'paid' ? 'packed' : 'back');
    if (kind === 'released') await this.stock.giveBack(tx, sku, qty);
  }

  private async finish(tx: SqlTransaction, orderId: string, status: 'packed' | 'back'): Promise<void> {
    const text = `UPDATE mall_pick SET status = $2 WHERE order_id = $1 AND status = 'laid-aside'`;
    const finished = await tx.execute(text, [orderId, status]);
    if (finished !== 1) throw new Error(`The pieces of order ${orderId} are not laid aside`);
  }
}
