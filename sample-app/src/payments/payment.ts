/** A buyer who wants to pay an order. */
export interface PayOrder {
  readonly orderId: string;
  readonly buyerId: string;
  /** The same in every repetition of the request. */
  readonly requestId: string;
}

/** One try to pay an order; body of the messages of {@link PAYMENT_CHARGED}. */
export interface PaymentAttempt extends PayOrder {
  /** What the bank knows it by; each try has its own. */
  readonly reference: string;
}

/** What the bank was, or is to be, asked for. */
export interface Payment {
  readonly reference: string;
  readonly orderId: string;
  readonly buyerId: string;
  readonly cents: number;
  /** `asked`: the bank may have charged it. `void`: it has not, and never will. */
  readonly status: 'asked' | 'paid' | 'void';
}

/** What a buyer who has paid gets. */
export interface Receipt {
  readonly reference: string;
  readonly orderId: string;
  readonly cents: number;
}

/** A payment of which the mall does not know whether it was charged. */
export interface UncertainPayment {
  /** What the operation is known by. */
  readonly id: string;
  readonly operation: string;
  readonly since: string;
  readonly payment: Payment | undefined;
}

/** Topic of what the bank has charged. */
export const PAYMENT_CHARGED = 'payment.charged';

export function receiptOf({ reference, orderId, cents }: Payment): Receipt {
  return { reference, orderId, cents };
}
