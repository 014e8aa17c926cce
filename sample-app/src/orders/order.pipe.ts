import { BadRequestException, Injectable, type PipeTransform } from '@nestjs/common';
import type { OrderLine } from './order.js';

const MAX_PIECES = 100;

/** What the client may say of an order; who is asking, and which request this is, it does not decide by the body. */
@Injectable()
export class OrderBodyPipe implements PipeTransform<unknown, OrderLine> {
  transform(value: unknown): OrderLine {
    const { sku, qty } = (value ?? {}) as { sku?: unknown; qty?: unknown };
    if (typeof sku !== 'string' || !/^[a-z0-9-]{1,64}$/.test(sku)) {
      throw new BadRequestException('sku must be 1 to 64 of a-z, 0-9 and -');
    }
    if (typeof qty !== 'number' || !Number.isInteger(qty) || qty < 1 || qty > MAX_PIECES) {
      throw new BadRequestException(`qty must be a whole number from 1 to ${MAX_PIECES}`);
    }
    return { sku, qty };
  }
}

/** The same in a query, where numbers are text. */
@Injectable()
export class QuotePipe implements PipeTransform<unknown, OrderLine> {
  private readonly body = new OrderBodyPipe();

  transform(value: unknown): OrderLine {
    const { sku, qty } = (value ?? {}) as { sku?: unknown; qty?: unknown };
    return this.body.transform({ sku, qty: typeof qty === 'string' && qty !== '' ? Number(qty) : qty });
  }
}
