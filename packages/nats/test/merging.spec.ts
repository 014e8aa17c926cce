import 'reflect-metadata';
import { type NatsTransportOptions, natsTransport } from '@lockstep/nats';
import type { DeliveryOutcome, MessageRoute } from '@lockstep/outbox';
import { eventually, freePort, startNats } from '@lockstep/testing';
import { useNats } from '@lockstep/testing/vitest';
import { type JetStreamManager, jetstreamManager, type StreamInfo } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterEach, describe, expect, it } from 'vitest';
import { Consumer, DONE, newMessage, newRoute } from './support/messages.js';
import { make } from './support/nats-ends.js';

const PATIENT = { timeoutMs: 10_000, intervalMs: 20 };
const ONE_BY_ONE = { concurrency: 1, batchSize: 1 };
const ACCEPTED = [{ outcome: 'accepted' }];

describe('a message that is published while it waits', () => {
  const nats = useNats();
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  const open = async (options: Partial<NatsTransportOptions> = {}) => {
    const all = { servers: nats.url, namespace: nats.namespace, ...options } as NatsTransportOptions;
    const made = await make(natsTransport(all));
    ends.push(() => made.port.close());
    return made;
  };
  const manager = async (url = nats.url): Promise<JetStreamManager> => {
    const connection = await connect({ servers: url });
    ends.push(() => connection.close());
    return jetstreamManager(connection);
  };
  const nameOf = ({ topic, consumer }: MessageRoute) => `${nats.namespace}=${topic.replaceAll('.', '~')}=${consumer}`;
  const streamOf = async (route: MessageRoute): Promise<StreamInfo> => (await manager()).streams.info(nameOf(route));

  it('is stored once, however often it is published, and one after another in its place', async () => {
    const { port } = await open();
    const { port: other } = await open();
    const route = newRoute();
    const [message, later] = [newMessage(route), newMessage(route)];
    for (let time = 0; time < 3; time += 1) expect(await port.publish(route, [message])).toEqual(ACCEPTED);
    expect(await port.publish(route, [later, message, message])).toEqual([...ACCEPTED, ...ACCEPTED, ...ACCEPTED]);
    await Promise.all([port, other, port, other].map((end) => end.publish(route, [message])));
    expect((await streamOf(route)).state.messages).toBe(2);
    const consumer = new Consumer();
    await port.consume(route, consumer.handler, ONE_BY_ONE);
    await eventually(async () => expect((await streamOf(route)).state.messages).toBe(0), PATIENT);
    expect(consumer.ids()).toEqual([message.id, later.id]);
  });

  it('is delivered anew once it has ended', async () => {
    const { port } = await open();
    const route = newRoute();
    const message = newMessage(route);
    const answers: DeliveryOutcome[] = [DONE, { outcome: 'dead', error: new Error('no') }, DONE];
    const consumer = new Consumer(() => answers.shift() ?? DONE);
    await port.consume(route, consumer.handler, ONE_BY_ONE);
    for (const times of [1, 2, 3]) {
      await port.publish(route, [message]);
      await eventually(() => expect(consumer.deliveries).toHaveLength(times), PATIENT);
      await eventually(async () => expect((await streamOf(route)).state.messages).toBe(0), PATIENT);
    }
    expect(consumer.deliveries.map(({ attempt }) => attempt)).toEqual([1, 1, 1]);
  });

  it('waits for its next attempt as before, and keeps its count', async () => {
    const { port } = await open();
    const route = newRoute();
    const message = newMessage(route);
    const consumer = new Consumer(({ attempt }): DeliveryOutcome => {
      return attempt < 4 ? { outcome: 'retry', delayMs: 150, error: new Error('again') } : DONE;
    });
    await port.consume(route, consumer.handler, ONE_BY_ONE);
    await port.publish(route, [message]);
    for (const times of [1, 2, 3]) {
      await eventually(() => expect(consumer.deliveries).toHaveLength(times), PATIENT);
      expect(await port.publish(route, [message])).toEqual(ACCEPTED);
    }
    await eventually(async () => expect((await streamOf(route)).state.messages).toBe(0), PATIENT);
    expect(consumer.deliveries.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
  });

  it('is recognised by a server that was killed meanwhile', async () => {
    const server = await startNats({ port: await freePort() });
    ends.push(() => server.stop());
    const { port } = await open({ servers: server.url } as Partial<NatsTransportOptions>);
    const route = newRoute();
    const messages = [newMessage(route), newMessage(route)];
    await port.publish(route, messages);
    await server.kill();
    await server.restart();
    await eventually(() => port.publish(route, messages), PATIENT);
    expect((await (await manager(server.url)).streams.info(nameOf(route))).state.messages).toBe(2);
  });

  it('is merged whatever its id is made of, and never with another one', async () => {
    const { port } = await open();
    const route = newRoute();
    const ids = ['a', 'A', 'a.b', 'a b', '*', '>', '', 'ü', 'message', 'note.1', 'x'.repeat(500)];
    const messages = ids.map((id) => newMessage(route, { id }));
    await port.publish(route, messages);
    await port.publish(route, messages);
    const consumer = new Consumer();
    await port.consume(route, consumer.handler, ONE_BY_ONE);
    await eventually(async () => expect((await streamOf(route)).state.messages).toBe(0), PATIENT);
    expect(consumer.ids()).toEqual(ids);
  });
});
