/** What a buyer asks for. */
export interface PlaceOrder {
  readonly buyerId: string;
  /** The same in every repetition of the request. */
  readonly requestId: string;
  readonly sku: string;
  readonly qty: number;
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
