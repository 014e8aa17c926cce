import { randomUUID } from 'node:crypto';

export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly replayed: boolean;
  readonly retryAfterS: number | undefined;
}

/** A client of the mall. A connection that breaks is an answer too: undefined. */
export class Shopper {
  constructor(
    private readonly baseUrl: () => string,
    readonly buyer = `buyer-${randomUUID()}`,
  ) {}

  order(sku: string, qty: number, key: string): Promise<Answer | undefined> {
    return this.call('POST', '/orders', { 'idempotency-key': key }, { sku, qty });
  }

  async orders(): Promise<Record<string, unknown>[]> {
    const answer = await this.call('GET', '/orders');
    return (answer?.body ?? []) as unknown as Record<string, unknown>[];
  }

  async points(): Promise<Record<string, unknown>> {
    return (await this.call('GET', '/points'))?.body ?? {};
  }

  async piecesLeft(sku: string): Promise<unknown> {
    return (await this.call('GET', `/products/${sku}`))?.body.qty;
  }

  restock(sku: string, qty: number, token: string): Promise<Answer | undefined> {
    const product = { name: `Tea pot ${sku}`, priceCents: 4_200, qty };
    return this.call('PUT', `/products/${sku}`, { authorization: `Bearer ${token}` }, product);
  }

  private async call(
    method: string,
    path: string,
    headers: Record<string, string> = {},
    body?: unknown,
  ): Promise<Answer | undefined> {
    try {
      const response = await fetch(`${this.baseUrl()}${path}`, {
        method,
        headers: { 'x-buyer': this.buyer, 'content-type': 'application/json', ...headers },
        signal: AbortSignal.timeout(30_000),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const retryAfter = response.headers.get('retry-after');
      return {
        status: response.status,
        body: (await response.json()) as Record<string, unknown>,
        replayed: response.headers.get('idempotent-replayed') === 'true',
        retryAfterS: retryAfter === null ? undefined : Number(retryAfter),
      };
    } catch (error) {
      // undici reports a broken connection as a TypeError; anything else is a fault of the tour itself.
      if (error instanceof TypeError) return undefined;
      throw error;
    }
  }
}

/** One line about an answer, for the tour. */
export function describeAnswer(answer: Answer | undefined): string {
  if (!answer) return 'the connection broke: outcome unknown';
  const replayed = answer.replayed ? '  (Idempotent-Replayed: true)' : '';
  return `${answer.status} ${JSON.stringify(answer.body)}${replayed}${retryAfter(answer, '  ')}`;
}

/** As `describeAnswer`, but only status and code: a refusal that comes many times. */
export function describeRefusal(answer: Answer | undefined): string {
  const code = answer?.body.code;
  return answer && typeof code === 'string'
    ? `${answer.status} ${code}${retryAfter(answer, ' ')}`
    : describeAnswer(answer);
}

function retryAfter({ retryAfterS }: Answer, gap: string): string {
  return retryAfterS === undefined ? '' : `${gap}(Retry-After: ${retryAfterS})`;
}
