import { randomBytes, randomUUID } from 'node:crypto';
import type { SpawnNodeOptions } from '@lockstep/testing';
import type { BankStandIn } from '../bank/bank-stand-in.js';
import type { PartnerStandIn } from '../partners/partner-stand-in.js';
import { mallLocks } from '../platform/lock-store.js';
import type { MallServers } from '../platform/servers.js';
import { MallProcess } from './mall-process.js';
import { Shopper } from './shopper.js';
import { Staff } from './staff.js';

/** The mall in processes of its own, so that they can be killed, stopped and started again. */
export class Stage {
  readonly tokens = { warehouse: randomBytes(16).toString('hex'), operator: randomBytes(16).toString('hex') };
  private readonly secret = randomBytes(32).toString('hex');
  private mall: MallProcess | undefined;
  private others: MallProcess[] = [];

  constructor(
    private readonly servers: MallServers,
    readonly bank: BankStandIn,
    readonly partner: PartnerStandIn,
  ) {}

  get baseUrl(): string {
    return this.mall?.url ?? '';
  }

  get databaseUrl(): string {
    return this.servers.databaseUrl;
  }

  /** Whether the others get the lock of an instance that only stands still. */
  get locksExpire(): boolean {
    return mallLocks(this.servers).expire;
  }

  /** Starts the mall; with `killAt`, it dies by SIGKILL the first time that it passes that checkpoint. */
  async open({ port = 0, killAt }: { port?: number; killAt?: string } = {}): Promise<void> {
    this.mall = await MallProcess.open(
      this.environment({ PORT: String(port) }),
      killAt === undefined ? {} : { killAt },
    );
  }

  /** Another instance beside the mall, for web requests alone; its leases are of one second. */
  async openBeside(
    at: Pick<SpawnNodeOptions, 'pauseAt' | 'killAt'> = {},
    own: Readonly<Record<string, string>> = {},
  ): Promise<MallProcess> {
    const env = this.environment({ PORT: '0', MALL_ROLES: 'web', MALL_LOCK_TTL: '1s', ...own });
    const other = await MallProcess.open(env, at);
    this.others.push(other);
    return other;
  }

  /** How the process ended. */
  async died(): Promise<string> {
    return (await this.mall?.died()) ?? 'it was not open';
  }

  /** What the processes said last, for the one who has to find out what went wrong. */
  get lastLines(): readonly string[] {
    return [this.mall, ...this.others].flatMap((mall) => mall?.lastLines ?? []);
  }

  async close(): Promise<void> {
    const open = [...(this.mall ? [this.mall] : []), ...this.others];
    this.mall = undefined;
    this.others = [];
    await Promise.all(open.map((mall) => mall.close()));
  }

  /** A shopper at the mall, or at another instance of it. */
  shopper(at?: MallProcess): Shopper {
    return new Shopper(() => at?.url ?? this.baseUrl);
  }

  /** The staff at the mall, or at another instance of it. */
  staff(at?: MallProcess): Staff {
    return new Staff(() => at?.url ?? this.baseUrl, this.tokens);
  }

  /** A product of its own for each chapter, with so many pieces. */
  async newProduct(qty: number, merchant?: string): Promise<string> {
    const sku = `tea-pot-${randomUUID().slice(0, 8)}`;
    const answer = await this.staff().restock(sku, qty, merchant);
    if (answer?.status !== 200) throw new Error(`The warehouse could not restock: ${JSON.stringify(answer)}`);
    return sku;
  }

  private environment(own: Readonly<Record<string, string>>): Record<string, string> {
    return {
      DATABASE_URL: this.servers.databaseUrl,
      REDIS_URL: this.servers.redisUrl ?? '',
      MALL_BANK_URL: this.bank.url,
      MALL_PARTNER_URL: this.partner.url,
      MALL_PARTNER_SECRET: this.partner.secret,
      MALL_SECRET: this.secret,
      MALL_WAREHOUSE_TOKEN: this.tokens.warehouse,
      MALL_OPERATOR_TOKEN: this.tokens.operator,
      ...own,
    };
  }
}
