import 'reflect-metadata';
import { useMariaDb, usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PositionPurge } from '../dist/consumer/position-purge.js';
import { type GateDatabase, openGate } from './support/gate-world.js';

const HOUR_MS = 3_600_000;

const DIALECTS = {
  postgres: { key: 'key', ago: (ms: string) => `clock_timestamp() - ${ms} * interval '1 millisecond'` },
  mariadb: { key: '`key`', ago: (ms: string) => `UTC_TIMESTAMP(6) - INTERVAL ${ms} * 1000 MICROSECOND` },
} as const;

const SERVERS = [
  { name: 'postgres', use: usePostgres },
  { name: 'mariadb', use: useMariaDb },
] as const;

describe.each(SERVERS)('The purge of positions, on $name', ({ name, use }) => {
  const server = use();
  const { key, ago } = DIALECTS[name];
  let database: GateDatabase;
  beforeAll(async () => {
    database = await openGate(server.url);
  });
  afterAll(() => database.app.close());
  beforeEach(() => database.sql.execute('DELETE FROM lockstep_outbox_position'));

  /** Keys of one consumer, in the order of the table. */
  const fill = async (consumer: string, from: number, to: number, ageMs: number): Promise<void> => {
    const values = Array.from({ length: to - from }, (_, index) => {
      const text = String(from + index).padStart(6, '0');
      return `('${consumer}', 'step', '${text}', 1, 1, ${ago(String(ageMs))})`;
    });
    await database.sql.execute(
      `INSERT INTO lockstep_outbox_position (consumer, topic, ${key}, generation, last, touched_at) VALUES ${values.join()}`,
    );
  };
  const left = async () => {
    const [row] = await database.sql.query<{ n: unknown }>('SELECT count(*) AS n FROM lockstep_outbox_position');
    return Number(row?.n);
  };

  it('looks at a part of the table each time, goes on behind it, and begins again at the end', async () => {
    await fill('a', 0, 2_900, HOUR_MS / 2);
    await fill('a', 2_900, 3_000, 2 * HOUR_MS);
    await fill('b', 0, 1_100, HOUR_MS / 2);
    await fill('c', 0, 300, 2 * HOUR_MS);
    await fill('c', 300, 400, -HOUR_MS);
    const purge = new PositionPurge(database.sql);
    const steps = [];
    for (let step = 0; step < 3; step += 1) steps.push(await purge.step(HOUR_MS));
    expect(steps).toEqual([
      { forgotten: 0, isWorthwhile: false },
      { forgotten: 100, isWorthwhile: false },
      { forgotten: 300, isWorthwhile: true },
    ]);
    await fill('0', 0, 1, 2 * HOUR_MS);
    expect(await purge.step(HOUR_MS)).toMatchObject({ forgotten: 1 });
    expect(await left()).toBe(4_100);
  });

  it('forgets no position that messages wait behind, and shortens the time of none that is held', async () => {
    await fill('a', 0, 2, 2 * HOUR_MS);
    await fill('a', 2, 3, -24 * HOUR_MS);
    const { gate } = database.services;
    const sequence = { generation: 1, n: 3 };
    for (const waiting of ['000001', '000002']) {
      await gate.keep('a', { topic: 'step', key: waiting, sequence, before: 0, isSkipped: false });
    }
    const purge = new PositionPurge(database.sql);
    expect(await purge.step(HOUR_MS)).toMatchObject({ forgotten: 1 });
    expect(await purge.step(-HOUR_MS)).toMatchObject({ forgotten: 1 });
    expect(await left()).toBe(1);
  });

  it('passes over a position that a handler has in hand, and forgets it later', async () => {
    await fill('a', 0, 3, 2 * HOUR_MS);
    const purge = new PositionPurge(database.sql);
    await database.sql.transaction(async (tx) => {
      await tx.query(`SELECT 1 FROM lockstep_outbox_position WHERE ${key} = '000001' FOR UPDATE`);
      expect(await purge.step(HOUR_MS)).toMatchObject({ forgotten: 2 });
    });
    expect(await purge.step(HOUR_MS)).toMatchObject({ forgotten: 1 });
    expect(await left()).toBe(0);
  });
});
