import 'reflect-metadata';
import { MESSAGE_TRANSPORT, type MessageTransport } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { eventually as eventuallyWithin } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { ConsumerStarter } from '../dist/consumer/consumer-starter.js';
import { plainHandler } from '../dist/consumer/plain-handler.js';
import { startOutbox } from './support/outbox-application.js';

const eventually = (check: () => unknown) => eventuallyWithin(async () => check(), { timeoutMs: 20_000 });

@Injectable()
class Compensator implements OnApplicationBootstrap {
  readonly seen: unknown[] = [];

  constructor(
    @Inject(ConsumerStarter) private readonly starter: ConsumerStarter,
    @Inject(Sql) private readonly sql: Sql,
  ) {}

  onApplicationBootstrap(): void {
    const route = { topic: 'lockstep.failed', consumer: 'compensator' };
    const run = async ({ body }: { body: unknown }) => {
      await this.sql.requireCurrent('the compensation').execute('INSERT INTO undone DEFAULT VALUES');
      this.seen.push(body);
      if (this.seen.length === 1) throw new Error('not yet');
    };
    this.starter.start(plainHandler('Compensator.run', route, run, { backoff: { first: 10, atMost: 20 } }));
  }
}

describe('A part of Lockstep that consumes', () => {
  const postgres = usePostgres();

  it('has the attempts, the transaction and the inbox of a method with @OnMessage, also below lockstep.', async () => {
    const { app, sql } = await startOutbox({
      url: postgres.url,
      providers: [Compensator],
      prepare: async (db) => void (await db.execute('CREATE TABLE undone (id serial)')),
    });
    const message = { id: uuidv7(), topic: 'lockstep.failed', key: undefined, payload: '{"n":1}', publishedAt: 1 };
    const transport = app.get<MessageTransport>(MESSAGE_TRANSPORT);
    const route = { topic: 'lockstep.failed', consumer: 'compensator' };
    await transport.publish(route, [{ ...message, headers: {} }]);
    await eventually(() => expect(app.get(Compensator).seen).toEqual([{ n: 1 }, { n: 1 }]));
    await transport.publish(route, [{ ...message, headers: {} }]);
    await eventually(async () => expect(await sql.query('SELECT 1 FROM undone')).toHaveLength(1));
    expect(app.get(Compensator).seen).toHaveLength(2);
    await app.close();
  });
});
