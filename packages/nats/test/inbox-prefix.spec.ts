import 'reflect-metadata';
import { natsTransport } from '@lockstep/nats';
import { eventually } from '@lockstep/testing';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type LimitedServer, startLimited } from './support/limited-server.js';
import { Consumer, newMessages, newRoute } from './support/messages.js';
import { make } from './support/nats-ends.js';

describe('an account that may subscribe below its own inbox prefix alone', () => {
  let server: LimitedServer;
  const ends: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    server = await startLimited({ subscribe: { allow: ['_MALL.>'] } });
  });
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  afterAll(() => server.stop());

  const settings = () => ({ ...server.credentials, inboxPrefix: '_MALL' });
  const dial = async (): Promise<NatsConnection> => {
    const connection = await connect({ servers: server.url, ...settings() });
    ends.push(() => connection.close());
    return connection;
  };

  it.each([
    ['the driver connects', async () => ({ servers: server.url, connectionOptions: settings() })],
    ['the application has connected', async () => ({ connection: await dial() })],
  ])('publishes and is delivered to, where %s', async (_, optionsOf) => {
    const { port, incidents } = await make(natsTransport(await optionsOf()));
    ends.push(() => port.close());
    const route = newRoute();
    const consumer = new Consumer();
    const messages = newMessages(route, 3);
    await port.consume(route, consumer.handler, { concurrency: 1, batchSize: 1 });
    await port.publish(route, messages);
    await eventually(() => expect(consumer.ids()).toEqual(messages.map(({ id }) => id)), { timeoutMs: 5_000 });
    expect(incidents).toEqual([]);
  });
});
