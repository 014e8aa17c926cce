import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { type ChildHandle, eventually, type SpawnNodeOptions, spawnNode } from '@lockstep/testing';

const SERVE = fileURLToPath(import.meta.resolve('sample-app/serve'));
const START_TIMEOUT_MS = 30_000;
const REQUEST_TIMEOUT_MS = 20_000;
const WAREHOUSE_TOKEN = 'the warehouse of the tests';
const OPERATOR_TOKEN = 'the operators of the tests';

export interface MallOptions extends Pick<SpawnNodeOptions, 'killAt' | 'pauseAt'> {
  readonly databaseUrl: string;
  /** Without it idempotency, locks and BullMQ are on Postgres. */
  readonly redisUrl?: string;
  /** Without it nothing can be paid. */
  readonly bankUrl?: string;
  /** Without it nobody is told of what was paid. */
  readonly partner?: { readonly url: string; readonly secret: string };
  readonly roles?: string;
  /** @default that of the mall */
  readonly lockTtl?: string;
  /** @default that of the mall, which is at night */
  readonly settlementCron?: string;
  /** How long an order waits for its payment. @default that of the mall, 30 minutes */
  readonly payWithin?: string;
}

export interface MallAnswer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly headers: Headers;
}

/** The mall of `sample-app` as a child process. */
export class Mall implements AsyncDisposable {
  private constructor(
    readonly child: ChildHandle,
    readonly url: string,
  ) {}

  static async open(options: MallOptions): Promise<Mall> {
    const { databaseUrl, redisUrl, bankUrl, partner, roles, lockTtl, settlementCron, payWithin, killAt, pauseAt } =
      options;
    const child = spawnNode(SERVE, {
      env: {
        DATABASE_URL: databaseUrl,
        REDIS_URL: redisUrl ?? '',
        MALL_BANK_URL: bankUrl ?? '',
        MALL_PARTNER_URL: partner?.url ?? '',
        MALL_PARTNER_SECRET: partner?.secret ?? '',
        PORT: '0',
        MALL_ROLES: roles ?? 'web,relay,consumer',
        MALL_SECRET: 'a secret of the tests alone',
        MALL_WAREHOUSE_TOKEN: WAREHOUSE_TOKEN,
        MALL_OPERATOR_TOKEN: OPERATOR_TOKEN,
        MALL_LOCK_TTL: lockTtl ?? '',
        MALL_SETTLEMENT_CRON: settlementCron ?? '',
        MALL_PAY_WITHIN: payWithin ?? '',
      },
      ...(killAt === undefined ? {} : { killAt }),
      ...(pauseAt === undefined ? {} : { pauseAt }),
    });
    const line = await child.waitForLine(/listening on /, START_TIMEOUT_MS);
    return new Mall(child, line.replace(/^.*listening on /, ''));
  }

  async close(): Promise<void> {
    this.child.sigcont(); // a stopped process would hear of its end only when it goes on
    this.child.sigterm();
    await this.child.exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Puts so many pieces of a new product on the shelf, at 900 cents; the mall's own, or a merchant's. */
  async shelve(qty: number, merchant?: string): Promise<string> {
    const sku = `cup-${randomUUID().slice(0, 8)}`;
    await this.restock(sku, qty, merchant);
    return sku;
  }

  /** Sets how many pieces of a product there are. */
  async restock(sku: string, qty: number, merchant?: string): Promise<void> {
    const headers = { authorization: `Bearer ${WAREHOUSE_TOKEN}` };
    const answer = await this.call('PUT', `/products/${sku}`, headers, {
      name: 'Cup',
      priceCents: 900,
      qty,
      merchant,
    });
    if (answer.status !== 200) throw new Error(`cannot shelve: ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  order(buyer: string, key: string | undefined, body: unknown): Promise<MallAnswer> {
    return this.call(
      'POST',
      '/orders',
      { 'x-buyer': buyer, ...(key === undefined ? {} : { 'idempotency-key': key }) },
      body,
    );
  }

  async orders(buyer: string): Promise<readonly Record<string, unknown>[]> {
    const { body } = await this.call('GET', '/orders', { 'x-buyer': buyer });
    return body as unknown as Record<string, unknown>[];
  }

  async piecesLeft(sku: string): Promise<unknown> {
    return (await this.call('GET', `/products/${sku}`)).body.qty;
  }

  async coupons(buyer: string): Promise<readonly Record<string, unknown>[]> {
    const { body } = await this.call('GET', '/coupons', { 'x-buyer': buyer });
    return body as unknown as Record<string, unknown>[];
  }

  /** Waits until the buyer has points for so many orders, and returns the entries that there are then. */
  async pointsEntries(buyer: string, expected: number, timeoutMs = 60_000): Promise<unknown> {
    const look = async (): Promise<unknown> => (await this.call('GET', '/points', { 'x-buyer': buyer })).body.entries;
    await eventually(
      async () => {
        const entries = await look();
        if (entries !== expected) throw new Error(`${entries} points entries instead of ${expected}`);
      },
      { timeoutMs },
    );
    return look();
  }

  /** The page before an order. */
  confirm(buyer: string, sku: string, qty: number): Promise<MallAnswer> {
    return this.call('GET', `/orders/confirm?sku=${sku}&qty=${qty}`, { 'x-buyer': buyer });
  }

  submit(buyer: string, body: unknown): Promise<MallAnswer> {
    return this.call('POST', '/orders/submit', { 'x-buyer': buyer }, body);
  }

  pay(buyer: string, orderId: unknown, key: string): Promise<MallAnswer> {
    return this.call('POST', `/orders/${String(orderId)}/payment`, { 'x-buyer': buyer, 'idempotency-key': key });
  }

  /** Asks as an operator does. */
  operate(method: string, path: string): Promise<MallAnswer> {
    return this.call(method, path, { authorization: `Bearer ${OPERATOR_TOKEN}` });
  }

  /** Asks for the settlement, as an operator does. */
  settle(): Promise<MallAnswer> {
    return this.call('POST', '/settlement/run', { authorization: `Bearer ${OPERATOR_TOKEN}` });
  }

  /** What the merchant has earned, and up to which day. */
  async merchantAccount(merchant: string): Promise<Record<string, unknown>> {
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
    return (await this.call('GET', `/settlement/accounts/${merchant}`, headers)).body;
  }

  async call(method: string, path: string, headers: Record<string, string> = {}, body?: unknown): Promise<MallAnswer> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return {
      status: response.status,
      headers: response.headers,
      body: (await response.json()) as Record<string, unknown>,
    };
  }
}
