import { Redis } from 'ioredis';
import { Client } from 'pg';

/** A key of the store at the end. */
export interface LeftKey {
  readonly key: string;
  /** Milliseconds; -1: for ever. */
  readonly ttlMs: number;
}

export function checkLeaks(left: readonly LeftKey[]): string[] {
  return left.filter(({ ttlMs }) => ttlMs < 0).map(({ key }) => `${key} never ends`);
}

export async function leftKeys(url: string, namespace: string): Promise<LeftKey[]> {
  const redis = new Redis(url);
  try {
    const left: LeftKey[] = [];
    for await (const keys of redis.scanStream({ match: `${namespace}:*`, count: 1_000 })) {
      for (const key of keys as string[]) left.push({ key, ttlMs: await redis.pttl(key) });
    }
    // One that ended between the two commands is no leak.
    return left.filter(({ ttlMs }) => ttlMs !== -2);
  } finally {
    redis.disconnect();
  }
}

/** Rows end by columns that may not be null; what is left over is what no end is known of. */
export async function leftRows(url: string): Promise<LeftKey[]> {
  const database = new Client({ connectionString: url });
  await database.connect();
  try {
    const { rows } = await database.query<LeftKey>(
      `SELECT id AS key, extract(epoch FROM expires_at - clock_timestamp() + interval '1 hour') * 1000 AS "ttlMs"
       FROM lockstep_session WHERE expires_at < clock_timestamp() - interval '1 hour'`,
    );
    return rows;
  } finally {
    await database.end();
  }
}
