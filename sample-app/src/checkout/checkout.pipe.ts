import { BadRequestException, Injectable, type PipeTransform } from '@nestjs/common';
import { type CartLine, MAX_LINES } from '../cart/cart.js';
import { OrderBodyPipe } from '../orders/order.pipe.js';

/** The lines that a customer orders; each product once. */
@Injectable()
export class CheckoutPipe implements PipeTransform<unknown, readonly CartLine[]> {
  private readonly line = new OrderBodyPipe();

  transform(value: unknown): readonly CartLine[] {
    const { lines } = (value ?? {}) as { lines?: unknown };
    if (!Array.isArray(lines) || lines.length === 0 || lines.length > MAX_LINES) {
      throw new BadRequestException(`lines must be 1 to ${MAX_LINES} of { sku, qty }`);
    }
    const checked = lines.map((line: unknown) => this.line.transform(line));
    if (new Set(checked.map(({ sku }) => sku)).size < checked.length) {
      throw new BadRequestException('lines must name each sku once');
    }
    return checked;
  }
}
