import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { type ChildHandle, eventually, type SpawnNodeOptions, spawnNode } from '@lockstep/testing';

const SERVE = fileURLToPath(import.meta.resolve('sample-app/serve'));
const START_TIMEOUT_MS = 30_000;
const REQUEST_TIMEOUT_MS = 20_000;
const WAREHOUSE_TOKEN = 'the warehouse of the tests';

export interface MallOptions extends Pick<SpawnNodeOptions, 'killAt' | 'pauseAt'> {
  readonly databaseUrl: string;
  /** Without it the mall runs on the memory drivers, and BullMQ on Postgres. */
  readonly redisUrl?: string;
  readonly roles?: string;
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

  static async open({ databaseUrl, redisUrl, roles, killAt, pauseAt }: MallOptions): Promise<Mall> {
    const child = spawnNode(SERVE, {
      env: {
        DATABASE_URL: databaseUrl,
        REDIS_URL: redisUrl ?? '',
        PORT: '0',
        MALL_ROLES: roles ?? 'web,relay,consumer',
        MALL_SECRET: 'a secret of the tests alone',
        MALL_WAREHOUSE_TOKEN: WAREHOUSE_TOKEN,
      },
      ...(killAt === undefined ? {} : { killAt }),
      ...(pauseAt === undefined ? {} : { pauseAt }),
    });
    const line = await child.waitForLine(/listening on /, START_TIMEOUT_MS);
    return new Mall(child, line.replace(/^.*listening on /, ''));
  }

  async close(): Promise<void> {
    this.child.sigterm();
    await this.child.exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Puts so many pieces of a new product on the shelf. */
  async shelve(qty: number): Promise<string> {
    const sku = `cup-${randomUUID().slice(0, 8)}`;
    const headers = { authorization: `Bearer ${WAREHOUSE_TOKEN}` };
    const answer = await this.call('PUT', `/products/${sku}`, headers, { name: 'Cup', priceCents: 900, qty });
    if (answer.status !== 200) throw new Error(`cannot shelve: ${answer.status} ${JSON.stringify(answer.body)}`);
    return sku;
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
