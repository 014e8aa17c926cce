import { IdempotencyToken, IssueIdempotencyToken, NotApplied, OutcomeUnknown } from '@lockstep/idempotency';
import {
  BadRequestException,
  Body,
  Controller,
  Get,
  Header,
  HttpException,
  type PipeTransform,
  Post,
  type Type,
} from '@nestjs/common';
import { Account, gate, ran } from './orders.controller.js';

export interface Submit {
  /** Names the runs of the handler, and its gate. */
  readonly order: string;
  readonly orderToken?: string;
  readonly qty?: number;
  readonly held?: boolean;
  readonly failing?: 'not-applied' | 'not-found' | 'busy' | 'unknown';
}

class QtyPipe implements PipeTransform<Submit, Submit> {
  transform(submit: Submit): Submit {
    if ((submit.qty ?? 1) < 1) throw new BadRequestException('qty must be at least 1');
    return submit;
  }
}

async function order(submit: Submit): Promise<object> {
  const times = ran(submit.order);
  if (submit.held) await gate(submit.order).opened;
  switch (submit.failing) {
    case 'not-applied':
      throw new NotApplied(new HttpException('the partner refused', 502));
    case 'not-found':
      throw new HttpException({ code: 'NO_SUCH_SKU', times }, 404);
    case 'busy':
      throw new HttpException('sold out for now', 409);
    case 'unknown':
      throw new OutcomeUnknown(new HttpException('the partner fell silent', 504));
    default:
      return { order: submit.order, times };
  }
}

/** Confirm page and submit of one purpose, below a path of that name. */
export function checkoutOf(purpose: string): Type {
  @Controller(purpose)
  class Checkout {
    @Get('confirm')
    @Header('Cache-Control', 'public, max-age=60')
    @IssueIdempotencyToken(purpose, { deliver: 'body.orderToken' })
    confirm(): object {
      return new Account(ran('confirm'), 's3cret');
    }

    @Get('confirm-header')
    @IssueIdempotencyToken(purpose)
    async confirmInHeader(): Promise<string> {
      return 'a page';
    }

    @Get('confirm-short')
    @IssueIdempotencyToken(purpose, { deliver: 'header:X-Order-Token', ttl: '300ms' })
    async confirmShort(): Promise<void> {}

    @Post('submit')
    @IdempotencyToken(purpose, { from: 'body.orderToken' })
    async submit(@Body(QtyPipe) submit: Submit): Promise<object> {
      return order(submit);
    }

    @Post('submit-header')
    @IdempotencyToken(purpose)
    async submitWithHeader(@Body(QtyPipe) submit: Submit): Promise<object> {
      return order(submit);
    }
  }
  return Checkout;
}
