import { afterEach, describe, expect, it, vi } from 'vitest';
import type { MessageEnvelope } from '../message.js';
import { SEQUENCE_HEADER } from '../message-headers.js';
import type { BatchHandler, ConsumeOptions, DeliveryOutcome, MessageTransport } from '../message-transport.js';
import { collect, DONE, Gate, newMessage, newRoute } from './message-transport.bench.js';

/** Two ends of one broker; a driver that lives in one process gives the same object twice. */
export interface TransportEnds {
  readonly producer: MessageTransport;
  readonly consumer: MessageTransport;
  /** Ends both and removes what the test left at the broker. */
  dispose(): Promise<void>;
}

export interface MessageTransportContract {
  /** The driver, for the title of the suite. */
  readonly name: string;
  open(): Promise<TransportEnds>;
  /** How long a delivery may take at most; brokers that look for lost work now and then need more. @default 5000 */
  readonly patienceMs?: number;
}

const ONE_BY_ONE: ConsumeOptions = { concurrency: 1, batchSize: 1 };

/** What every {@link MessageTransport} must keep. Call it in a spec file of the driver. */
export function describeMessageTransportContract(contract: MessageTransportContract): void {
  const timeoutMs = contract.patienceMs ?? 5_000;
  const opened: TransportEnds[] = [];
  const open = async (): Promise<TransportEnds> => {
    const ends = await contract.open();
    opened.push(ends);
    return ends;
  };

  describe(`MessageTransport contract: ${contract.name}`, () => {
    afterEach(async () => {
      for (const ends of opened.splice(0)) await ends.dispose();
    });
    publishing(open, timeoutMs);
    retrying(open, timeoutMs);
    for (const batchSize of [1, 6]) inTurn(open, timeoutMs, batchSize);
    closing(open, timeoutMs);
  });
}

type Open = () => Promise<TransportEnds>;

function publishing(open: Open, timeoutMs: number): void {
  it('delivers a message exactly as it was given', async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const message = newMessage(route.topic, {
      key: 'order:{1}/ü',
      payload: '{"amount":12345678901234567890,"text":"\\u0000 ☃"}',
      headers: { 'Lockstep-Origin': 'mall', traceparent: '00-1' },
    });
    const seen = collect();
    await consumer.consume(route, seen.handler, ONE_BY_ONE);
    expect(await producer.publish(route, [message])).toEqual([{ outcome: 'accepted' }]);
    await seen.untilCount(1, timeoutMs);
    expect(seen.deliveries).toEqual([{ message, attempt: 1 }]);
  });

  it('keeps the messages of a route until somebody consumes it, and delivers them in order', async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const messages = Array.from({ length: 25 }, () => newMessage(route.topic));
    const outcomes = await producer.publish(route, messages);
    expect(outcomes).toHaveLength(25);
    const seen = collect();
    await consumer.consume(route, seen.handler, { concurrency: 1, batchSize: 10 });
    await seen.untilCount(25, timeoutMs);
    expect(seen.ids()).toEqual(messages.map(({ id }) => id));
  });

  it('delivers the same message on each of its routes', async () => {
    const { producer, consumer } = await open();
    const first = newRoute();
    const second = { topic: first.topic, consumer: `${first.consumer}-2` };
    const message = newMessage(first.topic);
    const [one, two] = [collect(), collect()];
    await consumer.consume(first, one.handler, ONE_BY_ONE);
    await consumer.consume(second, two.handler, ONE_BY_ONE);
    await producer.publish(first, [message]);
    await producer.publish(second, [message]);
    await one.untilCount(1, timeoutMs);
    await two.untilCount(1, timeoutMs);
  });

  it('delivers a message anew that was done, or dead, when it is published again', async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const message = newMessage(route.topic);
    const answers: DeliveryOutcome[] = [DONE, { outcome: 'dead', error: new Error('refused') }, DONE];
    const seen = collect(() => answers.shift() ?? DONE);
    await consumer.consume(route, seen.handler, ONE_BY_ONE);
    for (const times of [1, 2, 3]) {
      // While the earlier answer is still on its way the driver may merge the two, so this publishes until one arrives.
      await vi.waitFor(
        async () => {
          await producer.publish(route, [message]);
          expect(seen.deliveries.length).toBeGreaterThanOrEqual(times);
        },
        { timeout: timeoutMs, interval: 50 },
      );
    }
    expect(new Set(seen.deliveries.map(({ attempt }) => attempt))).toEqual(new Set([1]));
  });

  it('answers an empty batch with nothing', async () => {
    const { producer } = await open();
    expect(await producer.publish(newRoute(), [])).toEqual([]);
  });
}

function retrying(open: Open, timeoutMs: number): void {
  it('brings a retried message back with the next attempt and not before its delay', async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const times: number[] = [];
    const seen = collect(({ attempt }) => {
      times.push(performance.now());
      return attempt < 3 ? { outcome: 'retry', delayMs: 60, error: new Error('not yet') } : DONE;
    });
    await consumer.consume(route, seen.handler, ONE_BY_ONE);
    await producer.publish(route, [newMessage(route.topic)]);
    await seen.untilCount(3, timeoutMs);
    expect(seen.deliveries.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    const pauses = times.slice(1).map((time, index) => time - (times[index] ?? time));
    for (const pause of pauses) expect(pause).toBeGreaterThanOrEqual(55);
  });

  it('brings a postponed message back without counting the delivery', async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const answers: DeliveryOutcome[] = [
      { outcome: 'retry', delayMs: 10, error: new Error('counted') },
      { outcome: 'postpone', delayMs: 10, error: new Error('the database is down') },
      { outcome: 'postpone', delayMs: 10, error: new Error('still down') },
    ];
    const seen = collect(() => answers.shift() ?? DONE);
    await consumer.consume(route, seen.handler, ONE_BY_ONE);
    await producer.publish(route, [newMessage(route.topic)]);
    await seen.untilCount(4, timeoutMs);
    expect(seen.deliveries.map(({ attempt }) => attempt)).toEqual([1, 2, 2, 2]);
  });

  it('retries one message of a batch alone', async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const messages = Array.from({ length: 6 }, () => newMessage(route.topic));
    const poison = messages[2]?.id;
    const seen = collect(({ message, attempt }) =>
      message.id === poison && attempt < 3 ? { outcome: 'retry', delayMs: 10, error: new Error('poison') } : DONE,
    );
    await producer.publish(route, messages);
    await consumer.consume(route, seen.handler, { concurrency: 1, batchSize: 6 });
    await seen.untilCount(8, timeoutMs);
    const runs = messages.map(({ id }) => seen.ids().filter((other) => other === id).length);
    expect(runs).toEqual([1, 1, 3, 1, 1, 1]);
    for (const { message, attempt } of seen.deliveries) if (message.id !== poison) expect(attempt).toBe(1);
  });

  it('brings every message of a batch back whose handler rejected', async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const seen = collect();
    let failed = false;
    const handler: BatchHandler = async (batch) => {
      if (failed) return seen.handler(batch);
      failed = true;
      throw new Error('the handler itself broke');
    };
    await producer.publish(route, [newMessage(route.topic), newMessage(route.topic)]);
    await consumer.consume(route, handler, { concurrency: 1, batchSize: 2 });
    await seen.untilCount(2, timeoutMs);
    expect(new Set(seen.ids()).size).toBe(2);
  });
}

function inTurn(open: Open, timeoutMs: number, batchSize: number): void {
  it(`lets no strict message wait for one that it holds up itself, ${batchSize} at a time`, async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const [first, second, third] = [1, 2, 3].map((n) =>
      newMessage(route.topic, { key: 'k', headers: { [SEQUENCE_HEADER]: `1700000000000.${n}` } }),
    ) as [MessageEnvelope, MessageEnvelope, MessageEnvelope];
    const sequence = [first, second, third].map(({ id }) => id);
    const [effects, seenOnce] = [[] as string[], new Set<string>()];
    const seen = collect(({ message: { id } }) => {
      const isItsTurn = effects.length >= sequence.indexOf(id);
      if (!isItsTurn || !seenOnce.has(id)) {
        seenOnce.add(id);
        return { outcome: 'postpone', delayMs: 10, error: new Error('before its turn, or the database is down') };
      }
      if (!effects.includes(id)) effects.push(id);
      return DONE;
    });
    await producer.publish(route, [third, first, { ...first }, second]);
    await consumer.consume(route, seen.handler, { concurrency: 1, batchSize });
    await vi.waitFor(() => expect(effects).toEqual(sequence), { timeout: timeoutMs });
  });
}

function closing(open: Open, timeoutMs: number): void {
  it('waits for the running batch when a subscription closes, and starts no other', async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const gate = new Gate();
    const begun = new Gate();
    let runs = 0;
    const subscription = await consumer.consume(
      route,
      async (batch) => {
        runs += 1;
        begun.open();
        await gate.opened;
        return batch.map(() => DONE);
      },
      ONE_BY_ONE,
    );
    await producer.publish(route, [newMessage(route.topic), newMessage(route.topic)]);
    await begun.opened;
    const closed = subscription.close();
    gate.open();
    await closed;
    expect(runs).toBe(1);

    const seen = collect();
    await consumer.consume(route, seen.handler, ONE_BY_ONE);
    await seen.untilCount(1, timeoutMs);
  });

  it('gives up waiting for a batch that hangs when the signal aborts', async () => {
    const { producer, consumer } = await open();
    const route = newRoute();
    const gate = new Gate();
    const begun = new Gate();
    const subscription = await consumer.consume(
      route,
      async (batch) => {
        begun.open();
        await gate.opened;
        return batch.map(() => DONE);
      },
      ONE_BY_ONE,
    );
    await producer.publish(route, [newMessage(route.topic)]);
    await begun.opened;
    await subscription.close(AbortSignal.timeout(50));
    gate.open();
  });
}
