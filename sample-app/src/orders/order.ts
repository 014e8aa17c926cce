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

/** `released`: it was not paid in time, and its pieces are for others. */
export type OrderStatus = 'placed' | 'paid' | 'released';

export interface ListedOrder extends Order {
  readonly status: OrderStatus;
}

/** What happened to an order; body of the messages of {@link ORDER_EVENTS}. */
export interface OrderEvent {
  readonly kind: OrderStatus;
  readonly orderId: string;
  readonly buyerId: string;
  readonly sku: string;
  readonly qty: number;
  readonly totalCents: number;
}

/** Strict, with the order as the key: nobody hears that an order was released before he heard that it was placed. */
export const ORDER_EVENTS = 'order.events';
/** Comes when an order must have been paid. A topic of its own: a delayed message would hold up a strict key. */
export const ORDER_UNPAID = 'order.unpaid';
