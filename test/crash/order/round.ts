import { randomUUID } from 'node:crypto';
import { eventually, type PostgresServer, type RedisServer, type SeededRandom, seededRandom } from '@lockstep/testing';
import { Client } from 'pg';
import { insist, type OrderRequest } from './buyer.js';
import { Faults } from './faults.js';
import type { Fleet } from './fleet.js';
import { balance } from './ledger.js';

export interface Arena {
  readonly fleet: Fleet;
  readonly redis: RedisServer;
  readonly postgres: PostgresServer;
  readonly databaseUrl: string;
}

const BUYERS = 60;
const PIECES = 60;
const RAGE_MS = 10_000;
const SETTLE_MS = 120_000;

/** One round: buyers order while faults strike; afterwards everything settles and the books must balance. */
export async function playRound(arena: Arena, seed: number): Promise<string[]> {
  const random = seededRandom(seed);
  const sku = `chaos-${randomUUID().slice(0, 8)}`;
  await withDatabase(arena.databaseUrl, (database) => shelve(database, sku));
  const requests = drawRequests(random, sku);
  const faults = new Faults(arena.fleet, arena.redis, arena.postgres, random);
  const raging = faults.rage(RAGE_MS);
  const answered = await Promise.all(requests.map((request) => insist(request, () => arena.fleet.urls)));
  await raging;
  const silent = answered.filter((final) => !final).length;
  const problems = await settle(arena.databaseUrl, sku, requests);
  const struck = [...faults.struck].map(([name, times]) => `${times} × ${name}`).join(', ');
  console.log(`seed ${seed}: ${requests.length} requests, ${struck}; ${problems.length} violations`);
  return [...problems, ...(silent > 0 ? [`${silent} requests were never answered for good`] : [])];
}

function drawRequests(random: SeededRandom, sku: string): OrderRequest[] {
  return Array.from({ length: BUYERS }, () => ({
    buyer: `buyer-${randomUUID()}`,
    key: randomUUID(),
    sku,
    qty: 1 + Math.floor(random.next() * 2),
    clicks: 1 + Math.floor(random.next() * 3),
    arrivesAfterMs: random.next() * RAGE_MS,
    orderIds: new Set<string>(),
    soldOut: false,
    odd: [],
  }));
}

async function shelve(database: Client, sku: string): Promise<void> {
  await database.query("INSERT INTO mall_product (sku, name, price_cents) VALUES ($1, 'Tea pot', 1250)", [sku]);
  await database.query('INSERT INTO mall_stock (sku, qty) VALUES ($1, $2)', [sku, PIECES]);
}

/** The points may take their time; what does not balance by then never will. */
async function settle(url: string, sku: string, requests: readonly OrderRequest[]): Promise<string[]> {
  let problems: string[] = [];
  try {
    await eventually(
      async () => {
        problems = await withDatabase(url, (database) => balance(database, sku, PIECES, requests));
        if (problems.length > 0) throw new Error(problems[0]);
      },
      { timeoutMs: SETTLE_MS, intervalMs: 250 },
    );
  } catch (error) {
    if (problems.length === 0) problems = [String(error)];
  }
  return problems;
}

export async function withDatabase<T>(url: string, fn: (database: Client) => Promise<T>): Promise<T> {
  const database = new Client({ connectionString: url });
  // The server may be restarted under us; the query that meets it rejects, which is enough.
  database.on('error', () => undefined);
  await database.connect();
  try {
    return await fn(database);
  } finally {
    await database.end();
  }
}
