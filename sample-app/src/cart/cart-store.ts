import type { CartLines } from './cart.js';

export interface CartChange {
  readonly customer: string;
  /** What is added to the lines, or taken where it is less than 0. */
  readonly pieces: CartLines;
  /** All of it or nothing; else as much as fits. */
  readonly isStrict?: boolean;
  /** A change of this name that was made within the last day is not made again. */
  readonly once?: string;
}

/** Where the carts of customers lie, whatever their sessions do. A cart that nobody changes for 30 days is forgotten. */
export interface CartStore {
  read(customer: string): Promise<CartLines>;
  /**
   * One step for everybody who looks: concurrent changes of one cart are all in it.
   *
   * @returns the lines after it, or `full` where it was strict and nothing was changed
   */
  change(change: CartChange): Promise<CartLines | 'full'>;
}

export const CART_STORE = Symbol('mall:CART_STORE');
export const CART_TTL_MS = 30 * 86_400_000;
/** Longer than a session lasts: until its end a change may be tried again. */
export const CHANGE_TTL_MS = 86_400_000;
