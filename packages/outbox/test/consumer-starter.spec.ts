import 'reflect-metadata';
import { MESSAGE_TRANSPORT, type Message, type MessageTransport } from '@lockstep/outbox';
import { eventually as eventuallyWithin } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { ConsumerStarter } from '../dist/consumer/consumer-starter.js';
import { plainHandler } from '../dist/consumer/plain-handler.js';
import { startOutbox } from './support/outbox-application.js';

const eventually = (check: () => unknown) => eventuallyWithin(async () => check(), { timeoutMs: 20_000 });

describe('A part of Lockstep that consumes', () => {
  const postgres = usePostgres();

  it('has the attempts, the transaction and the inbox of a method with @OnMessage, also below lockstep.', async () => {
    const { app, sql } = await startOutbox({
      url: postgres.url,
      prepare: async (db) => void (await db.execute('CREATE TABLE undone (id serial)')),
    });
    const seen: unknown[] = [];
    const run = async ({ body }: Message) => {
      await sql.requireCurrent('the compensation').execute('INSERT INTO undone DEFAULT VALUES');
      seen.push(body);
      if (seen.length === 1) throw new Error('not yet');
    };
    const route = { topic: 'lockstep.failed', consumer: 'compensator' };
    app.get(ConsumerStarter).start(plainHandler('Compensator.run', route, run, { backoff: { first: 10, atMost: 20 } }));
    const message = { id: uuidv7(), topic: 'lockstep.failed', key: undefined, payload: '{"n":1}', publishedAt: 1 };
    const transport = app.get<MessageTransport>(MESSAGE_TRANSPORT);
    await transport.publish(route, [{ ...message, headers: {} }]);
    await eventually(() => expect(seen).toEqual([{ n: 1 }, { n: 1 }]));
    await transport.publish(route, [{ ...message, headers: {} }]);
    await eventually(async () => expect(await sql.query('SELECT 1 FROM undone')).toHaveLength(1));
    expect(seen).toHaveLength(2);
    await app.close();
  });
});
