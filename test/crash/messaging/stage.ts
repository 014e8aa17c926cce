import { randomBytes, randomUUID } from 'node:crypto';
import type { PublishOptions } from '@lockstep/outbox';
import { type ChildHandle, eventually, type SpawnNodeOptions, spawnNode } from '@lockstep/testing';
import type { INestApplicationContext } from '@nestjs/common';
import { Client } from 'pg';
import { noteSent } from './books.js';
import { type Desk, openDesk } from './desk.js';
import { type Errand, KEPT } from './errand.js';
import { balance } from './ledger.js';
import { readBooks } from './read-books.js';
import { openShop, watchIncidents } from './shop.js';
import { type Role, WORKER_SCRIPT, type WorkerSetting, workerEnvironment } from './worker-setting.js';

type Places = Pick<WorkerSetting, 'databaseUrl' | 'brokerUrl'>;
type Manner = Partial<Places & Pick<WorkerSetting, 'outbox' | 'reportsMemory'>>;

export interface Shop {
  readonly app: INestApplicationContext;
  readonly incidents: readonly string[];
}

/** Short pauses: a fault is over in a second. */
const BRISK: NonNullable<WorkerSetting['outbox']> = {
  sweepEvery: 50,
  leaseTtl: 600,
  redeliverAfter: 1_500,
  redeliverAtMost: 3_000,
};
const PATIENCE_MS = 30_000;
const SEED = 1;

/** One fault and its ledger: a database and a room at the broker, and whatever processes a test sends there. */
export class Stage {
  private readonly namespace = `s${randomBytes(6).toString('hex')}`;
  private readonly ends: (() => Promise<unknown>)[] = [];

  private constructor(
    readonly desk: Desk,
    private readonly places: Places,
  ) {}

  static async open(places: Places): Promise<Stage> {
    return new Stage(await openDesk('postgres', places.databaseUrl), places);
  }

  /** Within this process. */
  async shop(roles: readonly Role[], manner: Manner = {}): Promise<Shop> {
    const app = await openShop(this.setting(roles, manner));
    const incidents: string[] = [];
    watchIncidents(app, (line) => incidents.push(line));
    this.ends.push(() => app.close());
    return { app, incidents };
  }

  spawn(roles: readonly Role[], options: SpawnNodeOptions & Manner = {}): ChildHandle {
    const child = spawnNode(WORKER_SCRIPT, { ...options, env: workerEnvironment(this.setting(roles, options)) });
    this.ends.push(() => child.sigkill());
    return child;
  }

  /** Messages in one transaction, in the order of their tags. */
  async send(
    count: number,
    what: Partial<Errand> & { readonly topic?: string; readonly key?: string } = {},
  ): Promise<string[]> {
    const { topic = KEPT, key, ...errand } = what;
    const tags: string[] = [];
    await this.desk.sql.transaction(async (tx) => {
      for (let n = 0; n < count; n += 1)
        tags.push(await this.sendIn(tx, topic, errand, key === undefined ? {} : { key }));
    });
    return tags;
  }

  /** In a transaction of the test's own. */
  async sendIn(
    tx: Parameters<typeof noteSent>[0],
    topic: string,
    errand: Partial<Errand> = {},
    options: PublishOptions = {},
  ): Promise<string> {
    const sent: Errand = { tag: randomUUID(), fate: 'plain', at: 'alpha', failures: 0, filler: '', ...errand };
    await noteSent(tx, SEED, sent, { topic, ...options });
    await this.desk.outbox.publish(topic, sent, { tx, ...options });
    return sent.tag;
  }

  /** Resolves when nothing is under way and each message has what it should have. */
  async balanced(timeoutMs = PATIENCE_MS): Promise<void> {
    const look = async (): Promise<void> => {
      const problems = balance(await readBooks(this.desk.sql), () => false);
      if (problems.length > 0) throw new Error(problems.join('\n'));
    };
    await eventually(look, { timeoutMs, intervalMs: 50 });
  }

  /** Tags in the order of their effects. */
  async effects(): Promise<string[]> {
    const rows = await this.desk.sql.query<{ tag: string }>('SELECT tag FROM book_effect ORDER BY id');
    return rows.map(({ tag }) => tag);
  }

  async close(): Promise<void> {
    await Promise.all(this.ends.map((end) => end()));
    await this.desk.close();
  }

  private setting(roles: readonly Role[], { outbox, databaseUrl, brokerUrl, reportsMemory }: Manner): WorkerSetting {
    return {
      database: 'postgres',
      databaseUrl: databaseUrl ?? this.places.databaseUrl,
      broker: 'bullmq-redis',
      brokerUrl: brokerUrl ?? this.places.brokerUrl,
      namespace: this.namespace,
      roles,
      outbox: { ...BRISK, ...outbox },
      ...(reportsMemory === undefined ? {} : { reportsMemory }),
    };
  }
}

/** Nothing in it, as it was made. */
export async function emptyDatabase(url: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
  await client.end();
}
