import { OnMessage } from '@lockstep/outbox';
import { NotificationsService } from '@lockstep/outbox/notifications';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { ORDER_EVENTS, type OrderEvent } from '../orders/order.js';

export const PARTNER_URL = Symbol('mall:PARTNER_URL');

/** Tells the partner shop of what was paid, as best it can: the mall goes on whether the partner listens or not. */
@Injectable()
export class PartnersService {
  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(NotificationsService) private readonly notifications: NotificationsService,
    @Inject(PARTNER_URL) private readonly url: string,
  ) {}

  @OnMessage(ORDER_EVENTS, { consumer: 'partners' })
  async follow({ kind, orderId, sku, qty }: OrderEvent): Promise<void> {
    if (kind !== 'paid') return;
    const tx = this.sql.requireCurrent('telling a partner');
    await this.notifications.send({ url: this.url, type: 'order.paid', data: { orderId, sku, qty }, tx });
  }
}
