import 'reflect-metadata';
import { natsTransport } from '@lockstep/nats';
import type { ConsumeOptions, MessageRoute } from '@lockstep/outbox';
import { type ChildHandle, eventually, spawnNode } from '@lockstep/testing';
import { useNats } from '@lockstep/testing/vitest';
import { afterEach, describe, expect, it } from 'vitest';
import { Consumer, newMessages, newRoute } from './support/messages.js';
import { make } from './support/nats-ends.js';

const child = new URL('./support/consumer.child.mjs', import.meta.url);

interface Answer {
  readonly answered?: readonly (readonly [id: string, outcome: string, attempt: number])[];
  readonly handed?: readonly (readonly [id: string, attempt: number])[];
}

describe('consumers that die', () => {
  const nats = useNats();
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });

  const options = () => ({ servers: nats.url, namespace: nats.namespace, ackWait: 600 });
  const open = async () => {
    const made = await make(natsTransport(options()));
    ends.push(() => made.port.close());
    return made;
  };
  const spawn = (
    route: MessageRoute,
    consume: ConsumeOptions,
    rest: { poison?: string | undefined; flaky?: string | undefined; hang?: boolean; killAt?: string },
  ): ChildHandle => {
    const { killAt, ...behaviour } = rest;
    const env = { CONSUMER: JSON.stringify({ options: options(), route, consume, ...behaviour }) };
    const handle = spawnNode(child, { env, ...(killAt === undefined ? {} : { killAt }) });
    ends.push(() => handle.sigkill());
    return handle;
  };

  it('a message that kills its process ends as a dead letter, and its neighbours are delivered uncounted', async () => {
    const { port } = await open();
    const route = newRoute();
    const messages = newMessages(route, 40);
    const poison = messages[23]?.id;
    await port.publish(route, messages);
    const children: ChildHandle[] = [];
    const answers = () => children.flatMap(said).flatMap(({ answered }) => answered ?? []);
    const isDead = () => answers().some(([, outcome]) => outcome === 'dead');
    while (!isDead() && children.length < 8) {
      const consumer = spawn(route, { concurrency: 2, batchSize: 40 }, { poison });
      children.push(consumer);
      await Promise.race([consumer.exited, eventually(() => expect(isDead()).toBe(true), { timeoutMs: 40_000 })]);
    }
    // Killed in the batch, and twice alone in quarantine: only those count as attempts.
    expect(children).toHaveLength(4);
    const done = () => new Set(answers().flatMap(([id, outcome]) => (outcome === 'done' ? [id] : [])));
    await eventually(() => expect(done().size).toBe(39), { timeoutMs: 30_000 });
    expect(answers().filter(([, outcome]) => outcome === 'dead')).toEqual([[poison, 'dead', 3]]);
    const attempts = answers().flatMap(([id, , attempt]) => (id === poison ? [] : [attempt]));
    expect(new Set(attempts)).toEqual(new Set([1]));
  }, 120_000);

  it('a poisonous message of a key is found one by one, and the others of the key are delivered', async () => {
    const { port } = await open();
    const route = newRoute();
    const messages = newMessages(route, 6, 'key');
    const poison = messages[3]?.id;
    await port.publish(route, messages);
    const answers: (readonly [id: string, outcome: string, attempt: number])[] = [];
    const ended = () => new Set(answers.map(([id]) => id)).size;
    for (let run = 0; run < 8 && ended() < messages.length; run += 1) {
      const consumer = spawn(route, { concurrency: 3, batchSize: 10 }, { poison });
      const answered = () => said(consumer).flatMap((one) => one.answered ?? []);
      const isOver = () => new Set([...answers, ...answered()].map(([id]) => id)).size === messages.length;
      await Promise.race([consumer.exited, eventually(() => expect(isOver()).toBe(true), { timeoutMs: 30_000 })]);
      answers.push(...answered());
    }
    // In which order is not promised once a process died; delivered twice is allowed (a kill between two steps).
    const [dead, done] = [
      answers.filter(([, outcome]) => outcome === 'dead'),
      answers.filter(([, is]) => is === 'done'),
    ];
    expect(dead).toEqual([[poison, 'dead', 3]]);
    expect(new Set(done.map(([id]) => id))).toEqual(new Set(messages.flatMap(({ id }) => (id === poison ? [] : [id]))));
  }, 120_000);

  it('every message of a batch comes back when its process is killed in the middle of it', async () => {
    const { port } = await open();
    const route = newRoute();
    const messages = newMessages(route, 40);
    await port.publish(route, messages);
    const victim = spawn(route, { concurrency: 2, batchSize: 40 }, { hang: true });
    await victim.waitForMessage((message) => (message as Answer).handed !== undefined);
    await victim.sigkill();
    const consumer = new Consumer();
    await port.consume(route, consumer.handler, { concurrency: 2, batchSize: 40 });
    await eventually(() => expect(new Set(consumer.ids()).size).toBe(40), { timeoutMs: 20_000 });
  }, 60_000);

  it.each(['nats.batch.handled', 'nats.note.written'])(
    'a process that dies at %s, while a failed message leaves its batch, loses none',
    async (killAt) => {
      const { port } = await open();
      const route = newRoute();
      const messages = newMessages(route, 6, 'key');
      await port.publish(route, messages);
      const victim = spawn(route, { concurrency: 1, batchSize: 2 }, { flaky: messages[2]?.id, killAt });
      await victim.exited;
      const handed = said(victim).flatMap((one) => one.handed ?? []);
      expect(handed.map(([id]) => id)).toEqual(messages.slice(0, handed.length).map(({ id }) => id));
      const answered = said(victim).flatMap((one) => one.answered ?? []);
      const done = new Set(answered.flatMap(([id, outcome]) => (outcome === 'done' ? [id] : [])));
      expect(done.has(messages[2]?.id ?? '')).toBe(false);
      const consumer = new Consumer();
      await port.consume(route, consumer.handler, { concurrency: 1, batchSize: 10 });
      const left = messages.map(({ id }) => id).filter((id) => !done.has(id));
      await eventually(() => expect(consumer.ids()).toEqual(expect.arrayContaining(left)), { timeoutMs: 20_000 });
    },
    60_000,
  );

  it('what a closed subscription left behind survives the process that takes it and dies', async () => {
    const { port } = await open();
    const route = newRoute();
    const messages = newMessages(route, 3, 'key');
    let letGo: () => void = () => undefined;
    const first = new Consumer(
      () =>
        new Promise((resolve) => {
          letGo = () => resolve({ outcome: 'done' });
        }),
    );
    await port.publish(route, messages);
    const subscription = await port.consume(route, first.handler, { concurrency: 1, batchSize: 1 });
    await eventually(() => expect(first.deliveries).toHaveLength(1));
    const closed = subscription.close();
    letGo();
    await closed;
    const victim = spawn(route, { concurrency: 1, batchSize: 10 }, { hang: true });
    await victim.waitForMessage((message) => (message as Answer).handed !== undefined);
    await victim.sigkill();
    const second = new Consumer();
    await port.consume(route, second.handler, { concurrency: 1, batchSize: 10 });
    const left = messages.slice(1).map(({ id }) => id);
    await eventually(() => expect(second.ids()).toEqual(left), { timeoutMs: 20_000 });
  }, 60_000);

  it('a process that dies between the answers and their acknowledgement delivers twice and loses nothing', async () => {
    const { port } = await open();
    const route = newRoute();
    await port.publish(route, newMessages(route, 5));
    const victim = spawn(route, { concurrency: 1, batchSize: 10 }, { killAt: 'nats.batch.handled' });
    await victim.exited;
    let running = 0;
    let most = 0;
    const consumer = new Consumer(async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return { outcome: 'done' };
    });
    await port.consume(route, consumer.handler, { concurrency: 1, batchSize: 1 });
    for (let wave = 0; wave < 40; wave += 1) await port.publish(route, newMessages(route, 5));
    await eventually(() => expect(new Set(consumer.ids()).size).toBe(205), { timeoutMs: 15_000 });
    expect(new Set(consumer.deliveries.map(({ attempt }) => attempt))).toEqual(new Set([1]));
    expect(most).toBe(1);
  }, 60_000);

  it('a process that dies right after an acknowledgement has ended that message: nobody gets it again', async () => {
    const { port } = await open();
    const route = newRoute();
    const [message, later] = newMessages(route, 2);
    if (!message || !later) throw new Error('two messages');
    await port.publish(route, [message]);
    const victim = spawn(route, { concurrency: 1, batchSize: 1 }, { killAt: 'nats.message.acknowledged' });
    await victim.exited;
    const consumer = new Consumer();
    await port.consume(route, consumer.handler, { concurrency: 1, batchSize: 1 });
    await port.publish(route, [later]);
    await eventually(() => expect(consumer.ids()).toEqual([later.id]), { timeoutMs: 20_000 });
    const waited = performance.now() + 1_500;
    await eventually(() => expect(performance.now()).toBeGreaterThan(waited));
    expect(consumer.ids()).toEqual([later.id]);
  }, 60_000);

  it('a retry whose process dies before the server heard of it keeps its count', async () => {
    const { port } = await open();
    const route = newRoute();
    const [message] = newMessages(route, 1);
    if (!message) throw new Error('a message');
    await port.publish(route, [message]);
    const victim = spawn(route, { concurrency: 1, batchSize: 1 }, { flaky: message.id, killAt: 'nats.note.written' });
    await victim.exited;
    const consumer = new Consumer();
    await port.consume(route, consumer.handler, { concurrency: 1, batchSize: 1 });
    await eventually(() => expect(consumer.deliveries).toEqual([{ message, attempt: 2 }]), { timeoutMs: 20_000 });
  }, 60_000);
});

function said(consumer: ChildHandle): Answer[] {
  return consumer.messages as Answer[];
}
