import { OutboxService } from '@lockstep/outbox';
import type { SqlTransaction } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { ORDER_EVENTS, ORDER_UNPAID, type OrderEvent } from './order.js';
import { PAY_WITHIN_MS } from './payment-terms.module.js';

/** Tells the rest of the mall what happened to an order, in the transaction in which it happened. */
@Injectable()
export class OrderEvents {
  constructor(
    @Inject(OutboxService) private readonly outbox: OutboxService,
    @Inject(PAY_WITHIN_MS) private readonly payWithinMs: number,
  ) {}

  async tell(tx: SqlTransaction, event: OrderEvent): Promise<void> {
    await this.outbox.publish(ORDER_EVENTS, event, { tx, key: event.orderId });
  }

  /** Sets the clock: the message comes back when the order must have been paid. */
  async awaitPayment(tx: SqlTransaction, orderId: string): Promise<void> {
    await this.outbox.publish(ORDER_UNPAID, { orderId }, { tx, delay: this.payWithinMs });
  }
}
