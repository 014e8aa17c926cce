import type { CartLine } from '../cart/cart.js';
import type { Order, Quote } from '../orders/order.js';

/** What a customer is shown before he orders. */
export interface CheckoutPage {
  readonly lines: readonly Quote[];
  readonly totalCents: number;
}

/** What a customer orders: the lines that he was shown, and not what another tab has put into the cart meanwhile. */
export interface Checkout {
  readonly customer: string;
  /** The same in every repetition of the request. */
  readonly requestId: string;
  readonly lines: readonly CartLine[];
}

export interface CheckedOut {
  /** An order for each line. */
  readonly orders: readonly Order[];
  /** Stays in the cart. */
  readonly soldOut: readonly CartLine[];
}
