import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { type NatsTransportOptions, natsTransport } from '@lockstep/nats';
import type { DeliveryOutcome } from '@lockstep/outbox';
import { eventually, freePort, startNats } from '@lockstep/testing';
import { useNats } from '@lockstep/testing/vitest';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterEach, describe, expect, it } from 'vitest';
import { Consumer, DONE, newMessage, newMessages, newRoute } from './support/messages.js';
import { make } from './support/nats-ends.js';

const ONE_BY_ONE = { concurrency: 1, batchSize: 1 };
const PATIENT = { timeoutMs: 10_000, intervalMs: 20 };

describe('messages on NATS', () => {
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
  const dial = async (url = nats.url): Promise<NatsConnection> => {
    const connection = await connect({ servers: url });
    ends.push(() => connection.close());
    return connection;
  };
  const streamOf = async (route: { topic: string; consumer: string }, url = nats.url, namespace = nats.namespace) => {
    const manager = await jetstreamManager(await dial(url));
    const dotless = (name: string) => name.replaceAll('.', '~');
    return manager.streams.info(`${namespace}=${dotless(route.topic)}=${dotless(route.consumer)}`);
  };

  it('a message that comes back is not overtaken by the later ones of its key, and holds up nothing else', async () => {
    const { port } = await open();
    const route = newRoute();
    const ofKey = newMessages(route, 5, 'order-1');
    const others = newMessages(route, 5);
    const done: string[] = [];
    const first = ofKey[0]?.id;
    const consumer = new Consumer(({ message, attempt }): DeliveryOutcome => {
      if (message.id === first && attempt < 3) return { outcome: 'retry', delayMs: 150, error: new Error('not yet') };
      done.push(message.id);
      return DONE;
    });
    await port.publish(route, [...ofKey, ...others]);
    await port.consume(route, consumer.handler, { concurrency: 4, batchSize: 1 });
    await eventually(() => expect(done).toHaveLength(10), PATIENT);
    expect(done.filter((id) => ofKey.some((message) => message.id === id))).toEqual(ofKey.map(({ id }) => id));
    expect(done.slice(0, 5).sort()).toEqual(others.map(({ id }) => id).sort());
    const followers = consumer.deliveries.filter(({ message }) => message.id !== first);
    expect(new Set(followers.map(({ attempt }) => attempt))).toEqual(new Set([1]));
  });

  it('a message whose handler works for longer than the server waits is given to nobody else', async () => {
    const { port } = await open({ ackWait: 300 });
    const { port: other } = await open({ ackWait: 300 });
    const route = newRoute();
    const until = performance.now() + 1_500;
    const consumer = new Consumer(async (): Promise<DeliveryOutcome> => {
      await eventually(() => expect(performance.now()).toBeGreaterThan(until), PATIENT);
      return DONE;
    });
    await port.consume(route, consumer.handler, { concurrency: 3, batchSize: 1 });
    await other.consume(route, consumer.handler, { concurrency: 3, batchSize: 1 });
    await port.publish(route, newMessages(route, 1));
    await eventually(async () => expect((await streamOf(route)).state.messages).toBe(0), PATIENT);
    expect(performance.now()).toBeGreaterThan(until);
    expect(consumer.deliveries).toHaveLength(1);
  });

  it.each(['retry', 'postpone'] as const)(
    'a %s that is longer than the wait of the server is kept',
    async (outcome) => {
      const { port } = await open({ ackWait: 300 });
      const route = newRoute();
      const times: number[] = [];
      const consumer = new Consumer((): DeliveryOutcome => {
        times.push(performance.now());
        return times.length === 1 ? { outcome, delayMs: 1_200, error: new Error('later') } : DONE;
      });
      await port.consume(route, consumer.handler, ONE_BY_ONE);
      await port.publish(route, newMessages(route, 1));
      await eventually(() => expect(times).toHaveLength(2), PATIENT);
      expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(1_190);
      expect(consumer.deliveries.map(({ attempt }) => attempt)).toEqual([1, outcome === 'retry' ? 2 : 1]);
    },
  );

  it('a thousand messages and more that wait for another time do not hold up the next one', async () => {
    const { port } = await open({ commandTimeout: '5s' });
    const route = newRoute();
    const last = newMessage(route);
    const consumer = new Consumer(({ message }): DeliveryOutcome => {
      return message.id === last.id ? DONE : { outcome: 'postpone', delayMs: 600_000, error: new Error('down') };
    });
    await port.publish(route, newMessages(route, 1_200));
    await port.publish(route, [last]);
    await port.consume(route, consumer.handler, { concurrency: 4, batchSize: 100 });
    await eventually(() => expect(consumer.ids()).toContain(last.id), PATIENT);
  });

  it('messages are handed over in batches, no more of them at a time than was asked for', async () => {
    const { port } = await open();
    const route = newRoute();
    const sizes: number[] = [];
    let running = 0;
    let most = 0;
    await port.publish(route, newMessages(route, 300));
    await port.consume(
      route,
      async (batch) => {
        running += 1;
        most = Math.max(most, running);
        sizes.push(batch.length);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        return batch.map(() => DONE);
      },
      { concurrency: 2, batchSize: 50 },
    );
    await eventually(() => expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(300), PATIENT);
    expect(most).toBe(2);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(50);
    expect(sizes.length).toBeLessThan(60);
  });

  it('a message that cannot travel is rejected with its reason, and its neighbours are accepted', async () => {
    const { port } = await open({ maxMessageBytes: 5_000_000 });
    const route = newRoute();
    const tooLarge = newMessage(route, { payload: JSON.stringify('x'.repeat(2_000_000)) });
    const broken = newMessage(route, { payload: '"\ud800"' });
    const outcomes = await port.publish(route, [newMessage(route), tooLarge, broken, newMessage(route)]);
    expect(outcomes).toEqual([
      { outcome: 'accepted' },
      { outcome: 'rejected', reason: expect.stringMatching(/the server takes 1048576/) },
      { outcome: 'rejected', reason: expect.stringMatching(/surrogate/) },
      { outcome: 'accepted' },
    ]);
    const { port: careful } = await open({ maxMessageBytes: 500 });
    const large = newMessage(route, { headers: { long: 'y'.repeat(500) } });
    expect(await careful.publish(route, [large])).toEqual([
      { outcome: 'rejected', reason: expect.stringMatching(/maxMessageBytes is 500/) },
    ]);
  });

  it('routes whose names differ only in where a dot stands are apart', async () => {
    const { port } = await open();
    const suffix = randomUUID().slice(0, 8);
    const routes = [
      { topic: `a.b${suffix}`, consumer: 'c.d' },
      { topic: `a`, consumer: `b${suffix}.c.d` },
      { topic: `a.b${suffix}.c`, consumer: 'd' },
    ];
    const consumers = routes.map(() => new Consumer());
    for (const [index, route] of routes.entries()) {
      await port.consume(route, consumers[index]?.handler ?? (async () => []), ONE_BY_ONE);
      await port.publish(route, newMessages(route, index + 1));
    }
    await eventually(() => expect(consumers.map(({ deliveries }) => deliveries.length)).toEqual([1, 2, 3]), PATIENT);
  });

  it('the stream is a work queue on disk without limits, and nothing is left in it of what has ended', async () => {
    const { port } = await open();
    const route = newRoute();
    const consumer = new Consumer(({ attempt }): DeliveryOutcome => {
      if (attempt === 1) return { outcome: 'retry', delayMs: 10, error: new Error('again') };
      return attempt === 2 ? DONE : { outcome: 'dead', error: new Error('no') };
    });
    await port.publish(route, newMessages(route, 20));
    const { config, state } = await streamOf(route);
    expect(state.messages).toBe(20);
    const limits = { max_msgs: -1, max_bytes: -1, max_age: 0, max_msgs_per_subject: -1 };
    expect(config).toMatchObject({ retention: 'workqueue', storage: 'file', discard: 'new', ...limits });
    await port.consume(route, consumer.handler, { concurrency: 2, batchSize: 5 });
    await eventually(() => expect(consumer.deliveries).toHaveLength(40), PATIENT);
    await eventually(async () => expect((await streamOf(route)).state.messages).toBe(0), PATIENT);
  });

  it('a late answer about a message that the server has lost does not end another one with its number', async () => {
    const server = await startNats({ port: await freePort() });
    ends.push(() => server.stop());
    const { port } = await open({ servers: server.url, connection: undefined } as Partial<NatsTransportOptions>);
    const route = newRoute();
    const gates = new Map<string, () => void>();
    const consumer = new Consumer(
      ({ message }) => new Promise((resolve) => gates.set(message.id, () => resolve(DONE))),
    );
    const [lost, next] = newMessages(route, 2);
    if (!lost || !next) throw new Error('two messages');
    await port.publish(route, [lost]);
    await port.consume(route, consumer.handler, { concurrency: 2, batchSize: 1 });
    await eventually(() => expect(gates.has(lost.id)).toBe(true), PATIENT);
    await server.restart({ empty: true });
    await eventually(() => port.publish(route, [next]), PATIENT);
    await eventually(() => expect(gates.has(next.id)).toBe(true), PATIENT);
    gates.get(lost.id)?.();
    const waited = performance.now() + 500;
    await eventually(() => expect(performance.now()).toBeGreaterThan(waited), PATIENT);
    const left = async () => (await streamOf(route, server.url)).state.messages;
    expect(await left()).toBeGreaterThanOrEqual(1);
    gates.get(next.id)?.();
    await eventually(async () => expect(await left()).toBe(0), PATIENT);
  });

  it('a connection of the application is used and not closed', async () => {
    const connection = await dial();
    const { port } = await make(natsTransport({ connection, namespace: nats.namespace }));
    const route = newRoute();
    const consumer = new Consumer();
    await port.consume(route, consumer.handler, ONE_BY_ONE);
    await port.publish(route, newMessages(route, 2));
    await eventually(() => expect(consumer.deliveries).toHaveLength(2), PATIENT);
    await port.close();
    expect(connection.isClosed()).toBe(false);
    expect(await connection.rtt()).toBeGreaterThanOrEqual(0);
    await expect(port.publish(route, newMessages(route, 1))).rejects.toMatchObject({ outcome: 'not-applied' });
  });

  it('a message that nobody here can read is left for others and reported', async () => {
    const { port, incidents } = await open();
    const route = newRoute();
    const consumer = new Consumer();
    const message = newMessage(route);
    await port.publish(route, [message]);
    const { config } = await streamOf(route);
    (await dial()).publish(`${config.subjects[0]?.replace('*', 'unknown')}`, 'not one of ours');
    await port.consume(route, consumer.handler, ONE_BY_ONE);
    await eventually(() => expect(incidents.map(({ code }) => code)).toContain('MESSAGE_UNREADABLE'), PATIENT);
    await eventually(async () => expect((await streamOf(route)).state.messages).toBe(1), PATIENT);
    expect(consumer.ids()).toEqual([message.id]);
  });
});
