import 'reflect-metadata';
import { type NatsTransportOptions, natsTransport } from '@lockstep/nats';
import type { MessageEnvelope, MessageRoute, MessageTransport } from '@lockstep/outbox';
import { eventually } from '@lockstep/testing';
import { useNats } from '@lockstep/testing/vitest';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterEach, describe, expect, it } from 'vitest';
import { startLimited } from './support/limited-server.js';
import { Consumer, newMessage, newMessages, newRoute } from './support/messages.js';
import { make } from './support/nats-ends.js';

const PATIENT = { timeoutMs: 10_000, intervalMs: 50 };
const ONE_BY_ONE = { concurrency: 1, batchSize: 1 };
const ACCEPTED = [{ outcome: 'accepted' }];

describe('what the server refuses for its own sake', () => {
  const nats = useNats();
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  const open = async (options: NatsTransportOptions): Promise<MessageTransport> => {
    const { port } = await make(natsTransport(options));
    ends.push(() => port.close());
    return port;
  };
  const here = () => open({ servers: nats.url, namespace: nats.namespace });
  const limit = async ({ topic, consumer }: MessageRoute, most: number): Promise<void> => {
    const connection = await connect({ servers: nats.url });
    ends.push(() => connection.close());
    const stream = `${nats.namespace}=${topic.replaceAll('.', '~')}=${consumer}`;
    await (await jetstreamManager(connection)).streams.update(stream, { max_msgs: most });
  };

  it('a stream that is full, by a limit of its operator, fails alone and not as a server that is away', async () => {
    const port = await here();
    const [full, other] = [newRoute(), newRoute()];
    await port.publish(full, newMessages(full, 2));
    await limit(full, 2);
    const refused = port.publish(full, newMessages(full, 1));
    await expect(refused).rejects.toMatchObject({ name: 'JetStreamApiError', code: 10_077 });
    expect(await port.publish(other, newMessages(other, 1))).toEqual(ACCEPTED);
    await port.consume(full, new Consumer().handler, ONE_BY_ONE);
    await eventually(async () => {
      expect(await port.publish(full, newMessages(full, 1))).toEqual(ACCEPTED);
    }, PATIENT);
  });

  it('a route to which the account may not publish fails alone and not as a server that is away', async () => {
    const [forbidden, allowed] = [newRoute(), newRoute()];
    const deny = [`lockstep.route.${forbidden.topic.replaceAll('.', '~')}.>`];
    const server = await startLimited({ publish: { deny } });
    ends.push(() => server.stop());
    const { url: servers, credentials: connectionOptions } = server;
    const port = await open({ servers, connectionOptions, commandTimeout: '5s' });
    const refused = port.publish(forbidden, newMessages(forbidden, 1));
    await expect(refused).rejects.toMatchObject({ name: 'RequestError', message: /permissions violation/i });
    expect(await port.publish(allowed, newMessages(allowed, 1))).toEqual(ACCEPTED);
  });

  it('a message on which the driver itself fails is not taken for a server that is away', async () => {
    const port = await here();
    const route = newRoute();
    const broken = { ...newMessage(route), headers: { number: 1n } } as unknown as MessageEnvelope;
    await expect(port.publish(route, [broken])).rejects.toThrow(TypeError);
    expect(await port.publish(route, newMessages(route, 1))).toEqual(ACCEPTED);
  });
});
