import { IdempotencyToken, Idempotent, IssueIdempotencyToken } from '@lockstep/idempotency';
import { Body, Controller, Get, Inject, Post, Query, UseGuards } from '@nestjs/common';
import { Buyer } from '../accounts/buyer.decorator.js';
import { BuyerGuard } from '../accounts/buyer.guard.js';
import type { ListedOrder, Order, OrderLine, Quote } from './order.js';
import { OrderBodyPipe, QuotePipe } from './order.pipe.js';
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
    @Body(OrderBodyPipe) body: OrderLine,
  ): Promise<Order> {
    return this.orders.placeOnce({ ...body, buyerId, requestId });
  }

  /** The page before the order. Its token is good for one submit of this buyer. */
  @Get('confirm')
  @IssueIdempotencyToken('order-submit', { deliver: 'body.orderToken' })
  confirm(@Query(QuotePipe) { sku, qty }: OrderLine): Promise<Quote> {
    return this.orders.quote(sku, qty);
  }

  /** As {@link place}, for a form that knows no header. A submit that fails gives the token back. */
  @Post('submit')
  @IdempotencyToken('order-submit', { from: 'body.orderToken', onLeaseExpiry: 'retry' })
  submit(
    @Buyer() buyerId: string,
    @RequestId() requestId: string,
    @Body(OrderBodyPipe) body: OrderLine,
  ): Promise<Order> {
    return this.orders.placeOnce({ ...body, buyerId, requestId });
  }

  @Get()
  list(@Buyer() buyerId: string): Promise<ListedOrder[]> {
    return this.orders.listOf(buyerId);
  }
}
