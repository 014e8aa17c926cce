import 'reflect-metadata';
import { bullmqTransport } from '@lockstep/bullmq';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { make } from './support/bullmq-ends.js';
import { Consumer, newMessages, newRoute } from './support/messages.js';

describe('messages on Postgres', () => {
  const postgres = usePostgres();
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  const pool = (config: pg.PoolConfig = {}) => {
    const ours = new pg.Pool({ connectionString: postgres.url, ...config });
    ends.push(() => ours.end());
    return ours;
  };

  it('everything lies in one schema, and no row of a message is left once it is done', async () => {
    const { port } = await make(bullmqTransport({ postgres: { url: postgres.url, schema: 'mall_jobs' } }));
    ends.push(() => port.close());
    const route = newRoute();
    const consumer = new Consumer();
    await eventually(() => port.publish(route, newMessages(route, 250)));
    await port.consume(route, consumer.handler, { concurrency: 2, batchSize: 100 });
    await eventually(() => expect(new Set(consumer.ids()).size).toBe(250));
    const ours = pool();
    await eventually(async () => expect((await ours.query('SELECT * FROM mall_jobs.job')).rowCount).toBe(0));
    const { rows } = await ours.query(
      "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
    );
    expect(rows).toEqual([{ table_schema: 'mall_jobs' }]);
  });

  it('a schema that disappears is made anew, and messages flow again', async () => {
    const { port } = await make(bullmqTransport({ postgres: { url: postgres.url, schema: 'dropped' } }));
    ends.push(() => port.close());
    const route = newRoute();
    const consumer = new Consumer();
    await port.consume(route, consumer.handler, { concurrency: 1, batchSize: 1 });
    await eventually(() => port.publish(route, newMessages(route, 1)));
    await eventually(() => expect(consumer.deliveries).toHaveLength(1));
    await pool().query('DROP SCHEMA dropped CASCADE');
    const [message] = newMessages(route, 1);
    await eventually(() => port.publish(route, message ? [message] : []));
    await eventually(() => expect(consumer.ids()).toContain(message?.id), { timeoutMs: 15_000 });
  });

  it("an application's own pool is used where its search_path leads to the schema, and is not closed", async () => {
    const ours = pool({ options: '-c search_path=own_pool' });
    const { port } = await make(bullmqTransport({ postgres: { pool: ours, schema: 'own_pool' } }));
    const route = newRoute();
    const consumer = new Consumer();
    await eventually(() => port.publish(route, newMessages(route, 1)));
    await port.consume(route, consumer.handler, { concurrency: 1, batchSize: 1 });
    await eventually(() => expect(consumer.deliveries).toHaveLength(1));
    await port.close();
    expect((await ours.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('a pool that looks elsewhere is refused with the reason, instead of writing into the wrong schema', async () => {
    const { port, incidents } = await make(bullmqTransport({ postgres: { pool: pool(), schema: 'elsewhere' } }));
    ends.push(() => port.close());
    const route = newRoute();
    await expect(port.publish(route, newMessages(route, 1))).rejects.toMatchObject({ outcome: 'not-applied' });
    expect(incidents.map(({ cause }) => String(cause))).toContainEqual(expect.stringContaining('search_path'));
  });

  it('without leave to migrate, a missing schema is said and not made', async () => {
    const options = { postgres: { url: postgres.url, schema: 'not_there', migrate: false } };
    const { port, incidents } = await make(bullmqTransport(options));
    ends.push(() => port.close());
    const route = newRoute();
    await expect(port.publish(route, newMessages(route, 1))).rejects.toMatchObject({ outcome: 'not-applied' });
    expect(incidents.map(({ code }) => code)).toContain('POSTGRES_NOT_READY');
  });
});
