import { Redis } from 'ioredis';
import { Client } from 'pg';
import type { Note } from './journal.js';
import { auditRegister, CONTROL, REGISTER_TABLE } from './register.js';

/** Servers that no fault touches: there are the registers. */
export interface Arena {
  readonly resourceUrl: string;
  readonly databaseUrl: string;
}

/** What a register holds in the end. */
export interface RegisterState {
  readonly register: string;
  readonly key: string;
  readonly value: string;
}

/** Once for each database, before the first round. */
export async function createRegisters({ databaseUrl }: Arena): Promise<void> {
  await withDatabase(databaseUrl, (database) => database.query(REGISTER_TABLE));
}

export async function addRows({ databaseUrl }: Arena, namespace: string, keys: readonly string[]): Promise<void> {
  await withDatabase(databaseUrl, async (database) => {
    for (const key of keys) await database.query('INSERT INTO register (id) VALUES ($1)', [`${namespace}:${key}`]);
  });
}

/** Past the fences, as the storage layouts have them. */
export async function readRegisters(
  arena: Arena,
  namespace: string,
  keys: readonly string[],
): Promise<RegisterState[]> {
  const redis = new Redis(arena.resourceUrl);
  try {
    return await withDatabase(arena.databaseUrl, async (database) => {
      const states: RegisterState[] = [];
      for (const key of keys) {
        const fenced = (await redis.get(`${namespace}:fenced:{${key}}`)) ?? '||';
        const control = (await redis.get(`${namespace}:${CONTROL}:{${key}}`)) ?? '';
        const { rows } = await database.query<{ value: string }>('SELECT value FROM register WHERE id = $1', [
          `${namespace}:${key}`,
        ]);
        states.push({ register: 'redis', key, value: fenced.split('|')[2] ?? '' });
        states.push({ register: 'row', key, value: rows[0]?.value ?? '' });
        states.push({ register: CONTROL, key, value: control });
      }
      return states;
    });
  } finally {
    redis.disconnect();
  }
}

/** Compares what the registers hold with what they confirmed. */
export function auditRegisters(
  registers: readonly RegisterState[],
  notes: readonly Note[],
): { readonly violations: string[]; readonly controlLosses: number } {
  const violations: string[] = [];
  let controlLosses = 0;
  for (const { register, key, value } of registers) {
    const confirmed = notes.filter((note) => note.type === 'changed' && note.register === register && note.key === key);
    const changes = confirmed.map((note) => (note.type === 'changed' ? note.change : ''));
    const { lost, doubled } = auditRegister(value, changes);
    if (register === CONTROL) {
      controlLosses += lost.length;
      continue;
    }
    violations.push(...lost.map((change) => `register ${register} of ${key} lost the confirmed change ${change}`));
    violations.push(...doubled.map((change) => `register ${register} of ${key} has the change ${change} twice`));
  }
  return { violations, controlLosses };
}

async function withDatabase<T>(url: string, fn: (database: Client) => Promise<T>): Promise<T> {
  const database = new Client({ connectionString: url });
  await database.connect();
  try {
    return await fn(database);
  } finally {
    await database.end();
  }
}
