import { IdempotencyToken, IssueIdempotencyToken } from '@lockstep/idempotency';
import { CurrentSession, RequireSession, type SessionRef } from '@lockstep/session';
import { Body, Controller, Get, Inject, Post } from '@nestjs/common';
import { Buyer } from '../accounts/buyer.decorator.js';
import type { CartLine } from '../cart/cart.js';
import { RequestId } from '../orders/request-id.decorator.js';
import type { CheckedOut, CheckoutPage } from './checkout.js';
import { CheckoutPipe } from './checkout.pipe.js';
import { CheckoutService } from './checkout.service.js';

/** From the cart to orders, for who is logged in. */
@Controller('checkout')
@RequireSession()
export class CheckoutController {
  constructor(@Inject(CheckoutService) private readonly checkout: CheckoutService) {}

  /** What is in the cart and what it costs, with a token that is good for one submit of this customer. */
  @Get()
  @IssueIdempotencyToken('checkout', { deliver: 'body.orderToken' })
  page(@CurrentSession() session: SessionRef): Promise<CheckoutPage> {
    return this.checkout.page(session);
  }

  /** A takeover after a crash is safe here: what the first one did is found again. */
  @Post()
  @IdempotencyToken('checkout', { from: 'body.orderToken', onLeaseExpiry: 'retry' })
  place(
    @Buyer() customer: string,
    @RequestId() requestId: string,
    @Body(CheckoutPipe) lines: readonly CartLine[],
  ): Promise<CheckedOut> {
    return this.checkout.place({ customer, requestId, lines });
  }
}
