/** What a buyer asks for. */
export interface PlaceOrder {
  readonly buyerId: string;
  /** The same in every repetition of the request. */
  readonly requestId: string;
  readonly sku: string;
  readonly qty: number;
}

/** What the client may say of an order. */
export type OrderLine = Pick<PlaceOrder, 'sku' | 'qty'>;

/** What the page before an order shows. */
export interface Quote {
  readonly sku: string;
  readonly qty: number;
  readonly totalCents: number;
}

export interface Order {
  readonly id: string;
  readonly sku: string;
  readonly qty: number;
  readonly totalCents: number;
}

/** Body of the message `order.placed`. */
export interface OrderPlaced {
  readonly orderId: string;
  readonly buyerId: string;
  readonly totalCents: number;
}

export const ORDER_PLACED = 'order.placed';
