import { ContextCarriers, DrainService, Incidents, LockstepModule } from '@lockstep/core';
import type { Delivery, DeliveryOutcome, MessageEnvelope } from '@lockstep/outbox';
import { Inbox, Sql, SqlModule, type SqlTransaction } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import { type SeededRandom, type Step, seededRandom } from '@lockstep/testing';
import { Test, type TestingModule } from '@nestjs/testing';
import type { AckSender } from '../../dist/ack/ack-sender.js';
import type { ConsumerServices } from '../../dist/consumer/consumer-services.js';
import { MessageConsumer } from '../../dist/consumer/message-consumer.js';
import type { MessageHandler } from '../../dist/consumer/message-handler.js';
import { plainHandler } from '../../dist/consumer/plain-handler.js';
import { SequenceGate } from '../../dist/consumer/sequence-gate.js';
import { strictMessage } from './strict-messages.js';

const CONSUMER = 'steps';
const RETENTION = { sequenceRetentionMs: 60_000 };
const NO_ACKS = { redeliverAfterMs: 0, send: async () => undefined } as unknown as AckSender;

/** The database of a consumer, and a gate on it. */
export interface GateDatabase {
  readonly app: TestingModule;
  readonly sql: Sql;
  readonly services: ConsumerServices;
}

export async function openGate(url: string): Promise<GateDatabase> {
  // A crashed actor keeps its place in the pool, though the server has ended its session.
  const place = { url, maxConnections: 400 };
  const driver = url.startsWith('mysql:') ? mariadbDriver(place) : pgDriver(place);
  const app = await Test.createTestingModule({
    imports: [LockstepModule.forRoot({ drainTimeout: '1s' }), SqlModule.forRoot({ driver, commandTimeout: '10s' })],
  }).compile();
  app.useLogger(false);
  await app.init();
  const [sql, inbox, incidents] = [app.get(Sql), app.get(Inbox), app.get(Incidents)];
  const gate = new SequenceGate(sql, RETENTION, incidents, app.get(DrainService));
  const number = sql.dialect === 'postgres' ? 'serial' : 'int AUTO_INCREMENT';
  await sql.execute(`CREATE TABLE step (id ${number} PRIMARY KEY, run int, lane varchar(40), n int)`);
  await gate.prepare();
  await inbox.prepare();
  const services = { sql, inbox, gate, incidents, carriers: app.get(ContextCarriers) } as unknown as ConsumerServices;
  return { app, sql, services };
}

export interface GateScene {
  readonly batch: boolean;
  readonly keys: number;
  readonly messages: number;
}

/** Some consumers on one database, and a transport that shuffles, doubles, and delivers again what was not answered. */
export class GateWorld {
  private static runs = 0;
  readonly run: number;
  readonly done = new Set<string>();
  private readonly random: SeededRandom;
  private readonly waiting: Delivery[];
  private readonly held = new Map<string, readonly Delivery[]>();
  private readonly sessions = new Map<string, string>();
  readonly all: readonly MessageEnvelope[];

  constructor(
    private readonly database: GateDatabase,
    private readonly scene: GateScene,
    seed: number,
  ) {
    GateWorld.runs += 1;
    this.run = GateWorld.runs;
    this.random = seededRandom(seed + this.run);
    this.all = Array.from({ length: scene.keys }, (_, key) =>
      Array.from({ length: scene.messages }, (_, index) => {
        const skip: Record<string, string> = key === 0 && index === 1 ? { 'Lockstep-Skip': '1' } : {};
        return strictMessage('step', `${this.run}/${key}`, index + 1, skip);
      }),
    ).flat();
    const copies = [...this.all, ...this.all.slice(0, 1), ...this.all.slice(-1)];
    this.waiting = this.random.shuffle(copies).map((message) => ({ message, attempt: 1 }));
  }

  /** A process that consumes until nothing waits, or somebody else has the rest in hand. */
  async consume(name: string, step: Step): Promise<void> {
    const consumer = new MessageConsumer(this.handler(step), this.services(name, step), NO_ACKS);
    for (let rounds = 0; rounds < 40 && this.waiting.length > 0; rounds += 1) {
      const batch = this.waiting.splice(0, this.scene.batch ? 2 : 1);
      this.held.set(name, batch);
      const outcomes = await consumer.handle(batch);
      this.held.delete(name);
      this.answer(batch, outcomes);
    }
  }

  /** Its connection closes, and the transport gives what it had to somebody else. */
  async crash(name: string): Promise<void> {
    const session = this.sessions.get(name);
    const { sql } = this.database;
    if (session !== undefined)
      await sql.query(sql.dialect === 'postgres' ? `SELECT pg_terminate_backend(${session})` : `KILL ${session}`);
    this.waiting.push(...(this.held.get(name) ?? []));
  }

  /** What the effects of the run are, by key, in the order in which they were committed. */
  async effects(): Promise<ReadonlyMap<string, readonly number[]>> {
    const rows = await this.database.sql.query<{ lane: string; n: number }>(
      'SELECT lane, n FROM step WHERE run = $1 ORDER BY id',
      [this.run],
    );
    const lanes = new Map<string, number[]>();
    for (const { lane, n } of rows) lanes.set(lane, [...(lanes.get(lane) ?? []), n]);
    return lanes;
  }

  async positions(): Promise<readonly string[]> {
    const key = this.database.sql.dialect === 'postgres' ? 'key' : '`key`';
    const rows = await this.database.sql.query<{ last: string }>(
      `SELECT CAST(last AS char(20)) AS last FROM lockstep_outbox_position WHERE ${key} LIKE $1`,
      [`${this.run}/%`],
    );
    return rows.map(({ last }) => last.trim());
  }

  private answer(batch: readonly Delivery[], outcomes: readonly DeliveryOutcome[]): void {
    for (const [index, delivery] of batch.entries()) {
      const outcome = outcomes[index];
      if (outcome?.outcome === 'dead') throw new Error(`dead: ${String(outcome.error)}`);
      if (outcome?.outcome === 'done') this.done.add(delivery.message.id);
      else this.waiting.push({ ...delivery, attempt: delivery.attempt + Number(outcome?.outcome === 'retry') });
    }
  }

  private handler(step: Step): MessageHandler {
    const { batch } = this.scene;
    const run = async ({ key, body }: { key: string | undefined; body: unknown }): Promise<void> => {
      await step('handler');
      const { n } = body as { n: number };
      const tx = this.database.sql.requireCurrent('the effect');
      await tx.execute('INSERT INTO step (run, lane, n) VALUES ($1, $2, $3)', [this.run, key, n]);
      if (this.random.next() < 0.1) throw new Error('not yet');
    };
    const handler = plainHandler('steps', { topic: 'step', consumer: CONSUMER }, run, { attempts: 1_000 });
    return { ...handler, options: { ...handler.options, batch } };
  }

  /** The same services, with a step before every statement of a transaction and before its commit. */
  private services(name: string, step: Step): ConsumerServices {
    const { sql, services } = this.database;
    const id = sql.dialect === 'postgres' ? 'pg_backend_pid()::text' : 'CONNECTION_ID()';
    const transaction: Sql['transaction'] = (fn, options) =>
      sql.transaction(async (tx) => {
        const [session] = await tx.query<{ id: string }>(`SELECT ${id} AS id`);
        this.sessions.set(name, String(session?.id));
        const value = await fn(stepping(tx, step));
        await step('commit');
        return value;
      }, options);
    const stepped = { dialect: sql.dialect, transaction } as Sql;
    return Object.assign(Object.create(services) as ConsumerServices, { sql: stepped });
  }
}

function stepping(tx: SqlTransaction, step: Step): SqlTransaction {
  return {
    dialect: tx.dialect,
    query: async (text, params) => {
      await step(labelOf(text));
      return tx.query(text, params);
    },
    execute: async (text, params) => {
      await step(labelOf(text));
      return tx.execute(text, params);
    },
    afterCommit: (fn) => tx.afterCommit?.(fn),
  };
}

function labelOf(text: string): string {
  return text.trim().split(/\s+/, 3).join(' ');
}
