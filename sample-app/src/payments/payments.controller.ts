import { Idempotent } from '@lockstep/idempotency';
import { Controller, Inject, Param, ParseUUIDPipe, Post, UseGuards } from '@nestjs/common';
import { Buyer } from '../accounts/buyer.decorator.js';
import { BuyerGuard } from '../accounts/buyer.guard.js';
import { RequestId } from '../orders/request-id.decorator.js';
import type { Receipt } from './payment.js';
import { PaymentsService } from './payments.service.js';

@Controller('orders/:order/payment')
@UseGuards(BuyerGuard)
export class PaymentsController {
  constructor(@Inject(PaymentsService) private readonly payments: PaymentsService) {}

  /**
   * Money moves once a key. Whoever dies or loses the bank's answer in here leaves it uncertain, for no second try could
   * tell whether the first one was charged; the errors of the mall that others try again after are no exception.
   */
  @Post()
  @Idempotent({ onLeaseExpiry: 'uncertain', onError: () => undefined })
  pay(
    @Buyer() buyerId: string,
    @RequestId() requestId: string,
    @Param('order', ParseUUIDPipe) orderId: string,
  ): Promise<Receipt> {
    return this.payments.pay({ orderId, buyerId, requestId });
  }
}
