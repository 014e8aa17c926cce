import { type Answer, send } from './client.js';

/** The tokens by which the mall knows its staff. */
export interface StaffTokens {
  readonly warehouse: string;
  readonly operator: string;
}

/** Those who work in the mall: the warehouse restocks, the operators settle and clear up. */
export class Staff {
  constructor(
    private readonly baseUrl: () => string,
    private readonly tokens: StaffTokens,
  ) {}

  /** Puts tea pots at 4200 cents on the shelf; the mall's own, or a merchant's. */
  restock(sku: string, qty: number, merchant?: string): Promise<Answer | undefined> {
    const body = { name: `Tea pot ${sku}`, priceCents: 4_200, qty, merchant };
    return this.call('PUT', `/products/${sku}`, this.tokens.warehouse, body);
  }

  settle(): Promise<Answer | undefined> {
    return this.call('POST', '/settlement/run', this.tokens.operator);
  }

  async account(merchant: string): Promise<Record<string, unknown>> {
    return (await this.call('GET', `/settlement/accounts/${merchant}`, this.tokens.operator))?.body ?? {};
  }

  uncertainPayments(): Promise<Answer | undefined> {
    return this.call('GET', '/payments/uncertain', this.tokens.operator);
  }

  /** Has the bank asked what became of a payment. */
  clearUp(id: unknown): Promise<Answer | undefined> {
    return this.call('POST', `/payments/uncertain/${String(id)}/clear-up`, this.tokens.operator);
  }

  async ledger(): Promise<Record<string, unknown>> {
    return (await this.call('GET', '/payments/ledger', this.tokens.operator))?.body ?? {};
  }

  private call(method: string, path: string, token: string, body?: unknown): Promise<Answer | undefined> {
    return send(this.baseUrl(), { method, path, headers: { authorization: `Bearer ${token}` }, body });
  }
}
