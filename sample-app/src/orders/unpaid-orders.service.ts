import { OnMessage } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { ORDER_UNPAID } from './order.js';
import { OrderRepository } from './order.repository.js';
import { OrderEvents } from './order-events.js';

@Injectable()
export class UnpaidOrders {
  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(OrderRepository) private readonly orders: OrderRepository,
    @Inject(OrderEvents) private readonly events: OrderEvents,
  ) {}

  /**
   * Releases an order that is still not paid. The message only wakes; the row decides. Where somebody is paying just now,
   * it is looked at again later: what the bank has charged must not be given to others.
   */
  @OnMessage(ORDER_UNPAID, { consumer: 'orders' })
  async release({ orderId }: { readonly orderId: string }): Promise<void> {
    const tx = this.sql.requireCurrent('releasing an unpaid order');
    const order = await this.orders.lockUnpaid(tx, orderId);
    if (!order) return;
    if (await this.orders.isBeingPaid(tx, orderId)) return this.events.awaitPayment(tx, orderId);
    await this.orders.setStatus(tx, orderId, 'released');
    await this.events.tell(tx, { ...order, kind: 'released' });
  }
}
