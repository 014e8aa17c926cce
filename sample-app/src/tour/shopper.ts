import { randomUUID } from 'node:crypto';
import { type Answer, send } from './client.js';

/** A client of the mall who buys. */
export class Shopper {
  constructor(
    private readonly baseUrl: () => string,
    readonly buyer = `buyer-${randomUUID()}`,
  ) {}

  order(sku: string, qty: number, key: string): Promise<Answer | undefined> {
    return this.call('POST', '/orders', { 'idempotency-key': key }, { sku, qty });
  }

  /** The page before an order; its answer brings the token of the form. */
  confirm(sku: string, qty: number): Promise<Answer | undefined> {
    return this.call('GET', `/orders/confirm?sku=${sku}&qty=${qty}`);
  }

  submit(sku: string, qty: number, orderToken: unknown): Promise<Answer | undefined> {
    return this.call('POST', '/orders/submit', {}, { sku, qty, orderToken });
  }

  pay(orderId: unknown, key: string): Promise<Answer | undefined> {
    return this.call('POST', `/orders/${String(orderId)}/payment`, { 'idempotency-key': key });
  }

  async orders(): Promise<Record<string, unknown>[]> {
    const answer = await this.call('GET', '/orders');
    return (answer?.body ?? []) as unknown as Record<string, unknown>[];
  }

  async points(): Promise<Record<string, unknown>> {
    return (await this.call('GET', '/points'))?.body ?? {};
  }

  async coupons(): Promise<Record<string, unknown>[]> {
    const answer = await this.call('GET', '/coupons');
    return (answer?.body ?? []) as unknown as Record<string, unknown>[];
  }

  async piecesLeft(sku: string): Promise<unknown> {
    return (await this.call('GET', `/products/${sku}`))?.body.qty;
  }

  private call(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>> = {},
    body?: unknown,
  ): Promise<Answer | undefined> {
    return send(this.baseUrl(), { method, path, headers: { 'x-buyer': this.buyer, ...headers }, body });
  }
}
