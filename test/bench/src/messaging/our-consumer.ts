import { MESSAGE_TRANSPORT, type MessageEnvelope, type MessageTransport, OnMessage } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable, type Type } from '@nestjs/common';
import { Queue } from 'bullmq';
import { Client } from 'pg';
import type { Contestant } from '../harness/contestant.js';
import { type Consumption, consuming, EFFECT_TABLES, INSERT_EFFECT, INSERT_EFFECTS } from './effects.js';
import { CONSUMER, ourApplication, type Servers } from './our-application.js';
import { HANDS, MESSAGES_PER_JOB, messageId, type OrderPlaced, orderPlaced, TOPIC } from './workload.js';

@Injectable()
class OneByOne {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage(TOPIC, { consumer: CONSUMER, concurrency: HANDS, batchSize: 6 })
  async take({ orderId, sku }: OrderPlaced): Promise<void> {
    await this.sql.requireCurrent('bench').execute(INSERT_EFFECT, [orderId, sku]);
  }
}

@Injectable()
class InBatches {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage(TOPIC, { consumer: CONSUMER, concurrency: 4, batch: true, batchSize: MESSAGES_PER_JOB })
  async take(orders: readonly OrderPlaced[]): Promise<void> {
    const columns = [orders.map(({ orderId }) => orderId), orders.map(({ sku }) => sku)];
    await this.sql.requireCurrent('bench').execute(INSERT_EFFECTS, columns);
  }
}

export function ourConsumer(servers: Servers, messages: number, batches: boolean): Contestant {
  return consuming('ours', messages, async () => {
    const database = new Client(servers.databaseUrl);
    await database.connect();
    await database.query(EFFECT_TABLES);
    return { database, consumption: await open(servers, batches ? InBatches : OneByOne) };
  });
}

/** The queue is held while it is filled, at the server, as one would hold any queue of BullMQ. */
async function open(servers: Servers, handler: Type): Promise<Consumption> {
  // The raw side owes nobody an acknowledgement either.
  const options = { durability: 'on-accept', run: { relay: false, consumers: true } } as const;
  const app = await ourApplication(servers, options, [handler]);
  const transport = app.get<MessageTransport>(MESSAGE_TRANSPORT, { strict: false });
  const queue = new Queue(`{route/${TOPIC}/${CONSUMER}}`, {
    connection: { url: servers.redisUrl },
    prefix: 'lockstep',
    skipMetasUpdate: true,
  });
  await queue.pause();
  return {
    fill: async (count) => {
      const messages = Array.from({ length: count }, (_, id) => envelope(id));
      await transport.publish({ topic: TOPIC, consumer: CONSUMER }, messages);
    },
    start: () => queue.resume(),
    stop: () => queue.pause(),
    close: async () => {
      await app.close();
      await queue.close();
    },
  };
}

function envelope(orderId: number): MessageEnvelope {
  return {
    id: messageId(),
    topic: TOPIC,
    key: undefined,
    payload: JSON.stringify(orderPlaced(orderId)),
    headers: { 'Lockstep-Origin': 'bench', 'Lockstep-Durability': 'on-accept' },
    publishedAt: Date.now(),
  };
}
