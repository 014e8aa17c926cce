import { randomUUID } from 'node:crypto';
import { checkpoint, Incidents, StoreUnavailableError } from '@lockstep/core';
import type { SessionRef } from '@lockstep/session';
import { ConflictException, Inject, Injectable } from '@nestjs/common';
import { type CartLine, type CartLines, changedLines, MAX_PIECES } from './cart.js';
import { CART_STORE, type CartStore } from './cart-store.js';

/** The cart of somebody who is not logged in, as his session has it. */
interface VisitorCart {
  /** What it is merged under, once. */
  readonly id: string;
  readonly lines: CartLines;
}

const ATTRIBUTE = 'cart';

/**
 * The cart of a session: a visitor's lies in the session itself, that of who is logged in at the store, common to all
 * his devices.
 *
 * ```
 * visitor's, in his session --merge, before the login--> at the store, under its id --login--> gone from the session
 * ```
 * Whoever dies on the way leaves it in the session, and the next login, or the next look at the cart, merges it again;
 * the store knows by the id whether it has it already. So it is in the customer's cart once, as far as it fits. Merged
 * after the login, it would be lost with a login whose answer nobody got. What does not hold: pieces that a visitor adds
 * between a login that died after the merge and the next one are not merged.
 */
@Injectable()
export class CartService {
  constructor(
    @Inject(CART_STORE) private readonly store: CartStore,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  async read(session: SessionRef): Promise<CartLines> {
    const { principal } = session;
    if (!principal) return session.get<VisitorCart>(ATTRIBUTE)?.lines ?? {};
    await this.mergeLate(session, principal.id);
    return this.store.read(principal.id);
  }

  async add(session: SessionRef, { sku, qty }: CartLine): Promise<CartLines> {
    return this.change(session, { [sku]: qty });
  }

  async remove(session: SessionRef, sku: string): Promise<CartLines> {
    return this.change(session, { [sku]: -MAX_PIECES });
  }

  /** Takes out what was ordered; however often the same order is told of. */
  async takeOrdered(customer: string, { sku, qty }: CartLine, order: string): Promise<void> {
    await this.store.change({ customer, pieces: { [sku]: -qty }, once: `order ${order}` });
  }

  /**
   * What a visitor has becomes the customer's. To be called before he is logged in; where it is true, `forget` after it.
   *
   * @returns false where the store is down: then it is merged when he looks at his cart
   */
  async mergeIfPossible(session: SessionRef, customer: string): Promise<boolean> {
    try {
      return await this.merge(session, customer);
    } catch (cause) {
      if (!(cause instanceof StoreUnavailableError)) throw cause;
      this.incidents.report({
        code: 'CART_NOT_MERGED',
        source: 'mall.cart',
        message: "A visitor's cart is merged when it is looked at next",
        cause,
      });
      return false;
    }
  }

  /** The visitor's cart of this session is the customer's by now. */
  forget(session: SessionRef): void {
    session.delete(ATTRIBUTE);
  }

  private async change(session: SessionRef, pieces: CartLines): Promise<CartLines> {
    const { principal } = session;
    if (!principal) return this.changeVisitors(session, pieces);
    await this.mergeLate(session, principal.id);
    const lines = await this.store.change({ customer: principal.id, pieces, isStrict: true });
    if (lines === 'full') throw cartFull();
    return lines;
  }

  private async changeVisitors(session: SessionRef, pieces: CartLines): Promise<CartLines> {
    const cart = await session.update<VisitorCart>(ATTRIBUTE, (present) => {
      const lines = changedLines(present?.lines ?? {}, pieces, true);
      if (!lines) throw cartFull();
      return Object.keys(lines).length === 0 ? undefined : { id: present?.id ?? randomUUID(), lines };
    });
    return cart?.lines ?? {};
  }

  private async mergeLate(session: SessionRef, customer: string): Promise<void> {
    if (await this.merge(session, customer)) this.forget(session);
  }

  private async merge(session: SessionRef, customer: string): Promise<boolean> {
    const cart = session.get<VisitorCart>(ATTRIBUTE);
    if (!cart) return false;
    await this.store.change({ customer, pieces: cart.lines, once: `visitor ${cart.id}` });
    checkpoint('mall.cart.merged', { cart: cart.id });
    return true;
  }
}

function cartFull(): ConflictException {
  return new ConflictException({ code: 'CART_FULL', message: 'A cart holds 50 products, and 100 pieces of each' });
}
