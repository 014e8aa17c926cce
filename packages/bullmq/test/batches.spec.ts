import 'reflect-metadata';
import { bullmqTransport } from '@lockstep/bullmq';
import type { DeliveryOutcome, MessageTransport } from '@lockstep/outbox';
import { eventually } from '@lockstep/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { useBackends } from './support/backends.js';
import { make } from './support/bullmq-ends.js';
import { Consumer, DONE, newMessage, newMessages, newRoute } from './support/messages.js';

const again = (delayMs = 20): DeliveryOutcome => ({ outcome: 'retry', delayMs, error: new Error('not yet') });

describe.each(useBackends())('batches of messages on $name', (backend) => {
  const opened: MessageTransport[] = [];
  const open = async (): Promise<MessageTransport> => {
    const { port } = await make(bullmqTransport({ ...backend.options(), lockDuration: '1s' }));
    opened.push(port);
    return port;
  };
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((transport) => transport.close()));
  });

  it('a message that fails holds back the later ones of its key, and no others', async () => {
    const transport = await open();
    const route = newRoute();
    const ours = newMessages(route, 3, 'key');
    const others = newMessages(route, 3, 'other');
    const consumer = new Consumer(({ message, attempt }) =>
      message.id === ours[0]?.id && attempt < 3 ? again() : DONE,
    );
    await transport.publish(
      route,
      [ours[0], others[0], ours[1], others[1], ours[2], others[2]].flatMap((m) => m ?? []),
    );
    await transport.consume(route, consumer.handler, { concurrency: 3, batchSize: 1 });
    await eventually(() => expect(consumer.deliveries).toHaveLength(8));
    const seen = consumer.ids();
    expect(seen.filter((id) => ours.some((message) => message.id === id))).toEqual(
      [0, 0, 0, 1, 2].map((index) => ours[index]?.id),
    );
    expect(seen.filter((id) => others.some((message) => message.id === id))).toEqual(others.map(({ id }) => id));
    expect(consumer.deliveries.filter(({ attempt }) => attempt > 1)).toHaveLength(2);
  });

  it('a message that was not handed over because of its key keeps its attempts', async () => {
    const transport = await open();
    const route = newRoute();
    const messages = newMessages(route, 2, 'key');
    const consumer = new Consumer(({ message, attempt }) =>
      message.id === messages[0]?.id && attempt < 4 ? again() : DONE,
    );
    await transport.publish(route, messages);
    await transport.consume(route, consumer.handler, { concurrency: 1, batchSize: 1 });
    await eventually(() => expect(consumer.deliveries).toHaveLength(5));
    expect(consumer.deliveries.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 1]);
  });

  it('a dead message lets the later ones of its key pass', async () => {
    const transport = await open();
    const route = newRoute();
    const messages = newMessages(route, 2, 'key');
    const consumer = new Consumer(({ message }) =>
      message.id === messages[0]?.id ? { outcome: 'dead', error: new Error('refused') } : DONE,
    );
    await transport.publish(route, messages);
    await transport.consume(route, consumer.handler, { concurrency: 1, batchSize: 10 });
    await eventually(() => expect(consumer.ids()).toEqual(messages.map(({ id }) => id)));
  });

  it('a batch that fails as a whole comes back as a whole, and counts it', async () => {
    const transport = await open();
    const route = newRoute();
    const messages = newMessages(route, 5);
    const sizes: number[] = [];
    const consumer = new Consumer(({ attempt }) => (attempt < 3 ? again() : DONE));
    await transport.publish(route, messages);
    await transport.consume(
      route,
      (batch) => {
        sizes.push(batch.length);
        return consumer.handler(batch);
      },
      { concurrency: 1, batchSize: 10 },
    );
    await eventually(() => expect(consumer.deliveries).toHaveLength(15));
    expect(sizes).toEqual([5, 5, 5]);
    expect(consumer.deliveries.map(({ attempt }) => attempt)).toEqual([1, 2, 3].flatMap((n) => Array(5).fill(n)));
  });

  it('a consumer of one message at a time uses all its hands for the messages of one job', async () => {
    const transport = await open();
    const route = newRoute();
    let running = 0;
    let most = 0;
    const consumer = new Consumer(async () => {
      running += 1;
      most = Math.max(most, running);
      await eventually(() => expect(most).toBe(4));
      running -= 1;
      return DONE;
    });
    await transport.publish(route, newMessages(route, 12));
    await transport.consume(route, consumer.handler, { concurrency: 4, batchSize: 1 });
    await eventually(() => expect(consumer.deliveries).toHaveLength(12));
    expect(most).toBe(4);
  });

  it('messages of a key keep their order across jobs that run at the same time in one process', async () => {
    const transport = await open();
    const route = newRoute();
    const messages = newMessages(route, 30, 'key');
    const finished: string[] = [];
    const consumer = new Consumer(async ({ message }) => {
      // The earlier the message, the longer it takes: whoever does not wait overtakes.
      for (let turn = messages.indexOf(message); turn < 30; turn += 1) await new Promise(setImmediate);
      finished.push(message.id);
      return DONE;
    });
    for (let from = 0; from < 30; from += 3) await transport.publish(route, messages.slice(from, from + 3));
    await transport.consume(route, consumer.handler, { concurrency: 5, batchSize: 1 });
    await eventually(() => expect(finished).toHaveLength(30));
    expect(finished).toEqual(messages.map(({ id }) => id));
  });

  it('a message that cannot travel is rejected, and its neighbours are delivered', async () => {
    const transport = await open();
    const route = newRoute();
    const fine = newMessage(route);
    const outcomes = await transport.publish(route, [
      newMessage(route, { payload: `"${'x'.repeat(300_000)}"` }),
      fine,
      newMessage(route, { key: 'half \ud800 of a pair' }),
      newMessage(route, { headers: { nul: 'a\0b' } }),
    ]);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['rejected', 'accepted', 'rejected', 'rejected']);
    const consumer = new Consumer();
    await transport.consume(route, consumer.handler, { concurrency: 1, batchSize: 10 });
    await eventually(() => expect(consumer.ids()).toEqual([fine.id]));
  });

  it('what a closing subscription has not handed over is delivered to another one as a batch, uncounted', async () => {
    const transport = await open();
    const route = newRoute();
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const first = new Consumer(() => released.then(() => DONE));
    await transport.publish(route, newMessages(route, 6));
    const subscription = await transport.consume(route, first.handler, { concurrency: 1, batchSize: 2 });
    await eventually(() => expect(first.deliveries).toHaveLength(2));
    const closed = subscription.close();
    release();
    await closed;
    const sizes: number[] = [];
    const second = new Consumer();
    await transport.consume(
      route,
      (batch) => {
        sizes.push(batch.length);
        return second.handler(batch);
      },
      { concurrency: 1, batchSize: 10 },
    );
    await eventually(() => expect(second.deliveries).toHaveLength(4));
    expect(sizes).toEqual([4]);
    expect(second.deliveries.map(({ attempt }) => attempt)).toEqual([1, 1, 1, 1]);
  });

  it('a handler that hangs past the drain does not keep its messages', async () => {
    const transport = await open();
    const route = newRoute();
    const first = new Consumer(() => new Promise(() => undefined));
    await transport.publish(route, newMessages(route, 3));
    const subscription = await transport.consume(route, first.handler, { concurrency: 1, batchSize: 1 });
    await eventually(() => expect(first.deliveries).toHaveLength(1));
    await subscription.close(AbortSignal.timeout(30));
    const second = new Consumer();
    await transport.consume(route, second.handler, { concurrency: 1, batchSize: 3 });
    await eventually(() => expect(second.deliveries).toHaveLength(3));
    const attempts = new Map(second.deliveries.map(({ message, attempt }) => [message.id, attempt]));
    expect(attempts.get(first.ids()[0] ?? '')).toBe(2);
  });
});
