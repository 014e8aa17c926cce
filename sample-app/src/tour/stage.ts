import { randomBytes, randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { type ChildHandle, spawnNode } from '@lockstep/testing';
import type { MallServers } from '../platform/servers.js';
import { Shopper } from './shopper.js';

const SERVE = fileURLToPath(new URL('../serve.js', import.meta.url));
const START_TIMEOUT_MS = 30_000;

/** The mall as a process of its own, so that it can be killed and started again. */
export class Stage {
  readonly warehouseToken = randomBytes(16).toString('hex');
  private readonly secret = randomBytes(32).toString('hex');
  private mall: ChildHandle | undefined;
  private url = '';

  constructor(private readonly servers: MallServers) {}

  get baseUrl(): string {
    return this.url;
  }

  /** Starts the mall; with `killAt`, it dies by SIGKILL the first time that it passes that checkpoint. */
  async open(options: { port?: number; killAt?: string } = {}): Promise<void> {
    this.mall = spawnNode(SERVE, {
      env: {
        DATABASE_URL: this.servers.databaseUrl,
        REDIS_URL: this.servers.redisUrl ?? '',
        PORT: String(options.port ?? 0),
        MALL_SECRET: this.secret,
        MALL_WAREHOUSE_TOKEN: this.warehouseToken,
      },
      ...(options.killAt === undefined ? {} : { killAt: options.killAt }),
    });
    const line = await this.mall.waitForLine(/listening on /, START_TIMEOUT_MS);
    this.url = line.replace(/^.*listening on /, '');
    await this.mall.waitForLine(/ready as/, START_TIMEOUT_MS);
  }

  /** How the process ended. */
  async died(): Promise<string> {
    const exit = await this.mall?.exited;
    return exit?.signal ?? `exit code ${exit?.code}`;
  }

  /** What the process said last, for the one who has to find out what went wrong. */
  get lastLines(): readonly string[] {
    return this.mall?.lines.slice(-20) ?? [];
  }

  async close(): Promise<void> {
    this.mall?.sigterm();
    await this.mall?.exited;
    this.mall = undefined;
  }

  shopper(): Shopper {
    return new Shopper(() => this.url);
  }

  /** A product of its own for each chapter, with so many pieces. */
  async newProduct(qty: number): Promise<string> {
    const sku = `tea-pot-${randomUUID().slice(0, 8)}`;
    const answer = await this.shopper().restock(sku, qty, this.warehouseToken);
    if (answer?.status !== 200) throw new Error(`The warehouse could not restock: ${JSON.stringify(answer)}`);
    return sku;
  }
}
