import 'reflect-metadata';
import { natsTransport } from '@lockstep/nats';
import type { MessageEnvelope } from '@lockstep/outbox';
import { eventually } from '@lockstep/testing';
import { useNats } from '@lockstep/testing/vitest';
import { AckPolicy, jetstream, jetstreamManager, RetentionPolicy } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterEach, describe, expect, it } from 'vitest';
import { Consumer, newMessages, newRoute } from './support/messages.js';
import { make } from './support/nats-ends.js';

const PATIENT = { timeoutMs: 10_000, intervalMs: 20 };
const ONE_BY_ONE = { concurrency: 1, batchSize: 1 };

describe('a stream of the layout before, in which all messages have one subject', () => {
  const nats = useNats();
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  const open = async () => {
    const { port } = await make(natsTransport({ servers: nats.url, namespace: nats.namespace, commandTimeout: '5s' }));
    ends.push(() => port.close());
    return port;
  };

  /** The stream and the durable consumer as an earlier version made them. */
  const before = async () => {
    const route = newRoute();
    const connection = await connect({ servers: nats.url });
    ends.push(() => connection.close());
    const manager = await jetstreamManager(connection);
    const [topic, name] = [route.topic.replaceAll('.', '~'), `${nats.namespace}=`];
    const stream = `${name}${topic}=${route.consumer}`;
    const subject = `${nats.namespace}.route.${topic}.${route.consumer}`;
    const subjects = [`${subject}.message`, `${subject}.note.*`];
    const rest = { retention: RetentionPolicy.Workqueue, allow_rollup_hdrs: true };
    await manager.streams.add({ name: stream, subjects, ...rest });
    const filter = { filter_subject: `${subject}.message`, ack_policy: AckPolicy.Explicit };
    const addConsumer = () => manager.consumers.add(stream, { durable_name: 'm1', ...filter });
    const send = async ({ id, key, headers, publishedAt, payload }: MessageEnvelope) => {
      const heading = JSON.stringify([1, id, route.topic, key ?? null, headers, publishedAt]);
      await jetstream(connection).publish(`${subject}.message`, `${heading}\n${payload}`);
    };
    /** Has the old consumer look at everything that is there. */
    const pull = async () => {
      const consumer = await jetstream(connection).consumers.get(stream, 'm1');
      const seen: number[] = [];
      for await (const message of await consumer.fetch({ max_messages: 10, expires: 1_000 })) seen.push(message.seq);
      return seen;
    };
    const left = async () => (await manager.streams.info(stream)).state.messages;
    return { route, stream, manager, addConsumer, send, pull, left };
  };

  it('is taken over with its messages, those in hand among them, and takes those of earlier versions', async () => {
    const { route, addConsumer, send, pull, left } = await before();
    const port = await open();
    const [inHand, waiting, fresh, late] = newMessages(route, 4);
    if (!inHand || !waiting || !fresh || !late) throw new Error('four messages');
    await addConsumer();
    await send(inHand);
    expect(await pull()).toHaveLength(1);
    await send(waiting);
    await port.publish(route, [fresh]);
    await port.publish(route, [fresh]);
    await send(late);
    expect(await left()).toBe(4);
    const consumer = new Consumer();
    await port.consume(route, consumer.handler, ONE_BY_ONE);
    await eventually(async () => expect(await left()).toBe(0), PATIENT);
    expect(consumer.ids()).toEqual([inHand.id, waiting.id, fresh.id, late.id]);
  });

  it('may be taken over by several processes at the same time', async () => {
    const { route, addConsumer, send, left } = await before();
    await addConsumer();
    const [old, ...messages] = newMessages(route, 9);
    if (!old) throw new Error('a message');
    await send(old);
    const consumer = new Consumer();
    const ports = await Promise.all(messages.map(() => open()));
    await Promise.all(ports.map((port) => port.consume(route, consumer.handler, ONE_BY_ONE)));
    const outcomes = await Promise.all(messages.map((message, index) => ports[index]?.publish(route, [message])));
    expect(outcomes).toEqual(messages.map(() => [{ outcome: 'accepted' }]));
    await eventually(async () => expect(await left()).toBe(0), PATIENT);
    expect(new Set(consumer.ids())).toEqual(new Set([old, ...messages].map(({ id }) => id)));
  });

  it('leaves nothing behind that a consumer of an earlier version has passed over', async () => {
    const { route, stream, manager, addConsumer, pull, left } = await before();
    const port = await open();
    const messages = newMessages(route, 3);
    await port.publish(route, messages);
    for await (const { name } of manager.consumers.list(stream)) await manager.consumers.delete(stream, name);
    await addConsumer();
    expect(await pull()).toEqual([]);
    const consumer = new Consumer();
    await port.consume(route, consumer.handler, ONE_BY_ONE);
    await eventually(async () => expect(await left()).toBe(0), PATIENT);
    expect(consumer.ids()).toEqual(messages.map(({ id }) => id));
  });
});
