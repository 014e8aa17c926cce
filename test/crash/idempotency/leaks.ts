import { Redis } from 'ioredis';
import { Client } from 'pg';

/** A key of the store at the end, when nothing runs any more. */
export interface LeftKey {
  readonly key: string;
  /** Milliseconds; -1: for ever. */
  readonly ttlMs: number;
  /** `P` running, `C` completed, `R` released, `U` uncertain; '' for an index. */
  readonly state: string;
}

/** Answers and releases end by themselves, nothing runs, and only what is uncertain stays, in its index too. */
export function checkLeaks(left: readonly LeftKey[]): string[] {
  const uncertainBuckets = new Set(left.filter(({ state }) => state === 'U').map(({ key }) => bucketOf(key)));
  return left.flatMap(({ key, ttlMs, state }) => {
    if (key.endsWith(':running')) return [`${key}: something is left in the index of what runs`];
    if (key.endsWith(':uncertain')) {
      return uncertainBuckets.has(bucketOf(key)) ? [] : [`${key}: it names what is not uncertain`];
    }
    if (state === 'P') return [`${key} still runs`];
    if (state === 'U') return ttlMs === -1 ? [] : [`${key} is uncertain and ends in ${ttlMs} ms`];
    return ttlMs > 0 ? [] : [`${key} (${state}) never ends`];
  });
}

function bucketOf(key: string): string {
  return key.slice(0, key.indexOf('}'));
}

export async function leftKeys(url: string, namespace: string): Promise<LeftKey[]> {
  const redis = new Redis(url);
  try {
    const left: LeftKey[] = [];
    let cursor = '0';
    do {
      const [next, keys] = await redis.scan(cursor, 'MATCH', `${namespace}:*`, 'COUNT', 1_000);
      cursor = next;
      for (const key of keys) {
        const isIndex = /:(?:running|uncertain)$/.test(key);
        const state = isIndex ? '' : ((await redis.hget(key, 'st')) ?? '');
        left.push({ key, ttlMs: await redis.pttl(key), state });
      }
    } while (cursor !== '0');
    return left;
  } finally {
    redis.disconnect();
  }
}

/** The same of the table in SQL: `expires_at` is null where only an owner or an operator may end it. */
export async function leftRows(url: string): Promise<LeftKey[]> {
  const database = new Client({ connectionString: url });
  await database.connect();
  try {
    const { rows } = await database.query<LeftKey>(
      `SELECT id AS key, state::text AS state,
              coalesce(extract(epoch FROM expires_at - clock_timestamp()) * 1000, -1)::float8 AS "ttlMs"
       FROM lockstep_idempotency`,
    );
    return rows;
  } finally {
    await database.end();
  }
}
