import { checkpoint } from '@lockstep/core';
import type { SessionRef } from '@lockstep/session';
import { ConflictException, HttpException, Inject, Injectable } from '@nestjs/common';
import { type CartLine, lineList } from '../cart/cart.js';
import { CartService } from '../cart/cart.service.js';
import type { Order } from '../orders/order.js';
import { OrdersService } from '../orders/orders.service.js';
import type { CheckedOut, Checkout, CheckoutPage } from './checkout.js';

@Injectable()
export class CheckoutService {
  constructor(
    @Inject(CartService) private readonly carts: CartService,
    @Inject(OrdersService) private readonly orders: OrdersService,
  ) {}

  async page(session: SessionRef): Promise<CheckoutPage> {
    const cart = lineList(await this.carts.read(session));
    const lines = await Promise.all(cart.map(({ sku, qty }) => this.orders.quote(sku, qty)));
    return { lines, totalCents: lines.reduce((sum, line) => sum + line.totalCents, 0) };
  }

  /**
   * An order for each line, each at its own merchant, as far as there are pieces; what is ordered leaves the cart. Each
   * step takes effect once a request, so whoever dies in the middle, or gets no answer, repeats it and has it whole.
   */
  async place({ customer, requestId, lines }: Checkout): Promise<CheckedOut> {
    const orders: Order[] = [];
    const soldOut: CartLine[] = [];
    for (const line of lines) {
      const request = { buyerId: customer, requestId: `${requestId} ${line.sku}`, ...line };
      // One after the other: each waits for the lock of its product, and holds it for as long as a transaction takes.
      const order = await this.orders.placeOnce(request).catch(undefinedIfSoldOut);
      if (!order) {
        soldOut.push(line);
        continue;
      }
      await this.carts.takeOrdered(customer, line, order.id);
      checkpoint('mall.checkout.taken', { order: order.id });
      orders.push(order);
    }
    if (orders.length > 0) return { orders, soldOut };
    throw new ConflictException({ code: 'SOLD_OUT', message: 'Nothing of it is left' });
  }
}

function undefinedIfSoldOut(error: unknown): undefined {
  const answer = error instanceof HttpException ? error.getResponse() : undefined;
  if ((answer as { code?: unknown } | undefined)?.code === 'SOLD_OUT') return undefined;
  throw error;
}
