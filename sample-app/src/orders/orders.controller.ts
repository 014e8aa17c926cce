import { Idempotent } from '@lockstep/idempotency';
import { Body, Controller, Get, Inject, Post, UseGuards } from '@nestjs/common';
import { Buyer } from '../accounts/buyer.decorator.js';
import { BuyerGuard } from '../accounts/buyer.guard.js';
import type { Order, PlaceOrder } from './order.js';
import { OrderBodyPipe } from './order.pipe.js';
import { OrdersService } from './orders.service.js';
import { RequestId } from './request-id.decorator.js';

@Controller('orders')
@UseGuards(BuyerGuard)
export class OrdersController {
  constructor(@Inject(OrdersService) private readonly orders: OrdersService) {}

  /** Takes effect once a key. A takeover after a crash is safe here, because the order row is unique per request. */
  @Post()
  @Idempotent({ required: true, onLeaseExpiry: 'retry' })
  place(
    @Buyer() buyerId: string,
    @RequestId() requestId: string,
    @Body(OrderBodyPipe) body: Pick<PlaceOrder, 'sku' | 'qty'>,
  ): Promise<Order> {
    return this.orders.placeOnce({ ...body, buyerId, requestId });
  }

  @Get()
  list(@Buyer() buyerId: string): Promise<Order[]> {
    return this.orders.listOf(buyerId);
  }
}
