import 'reflect-metadata';
import { type Incident, Incidents, StoreUnavailableError } from '@lockstep/core';
import {
  DeliveryPublisher,
  MemoryOutboxStore,
  type MessageEnvelope,
  type MessageRoute,
  type MessageTransport,
  NO_CONSUMER,
  type PublishOutcome,
  RedeliveryPass,
  RelayPass,
  type ShardLease,
  SlowStart,
} from '@lockstep/outbox';
import { OutboxBench } from '@lockstep/outbox/contract';
import { eventually } from '@lockstep/testing';
import { Logger } from '@nestjs/common';
import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { memoryTransaction } from './support/memory-transaction.js';

/** Answers as it is told, and remembers what it accepted. */
class ScriptedTransport implements MessageTransport {
  readonly accepted: string[] = [];
  isDown: (route: MessageRoute) => boolean = () => false;
  isBroken: (route: MessageRoute) => boolean = () => false;
  refuses: (message: MessageEnvelope) => boolean = () => false;
  /** Fails for every batch with such a message, and does not say which it is. */
  breaksOn: (message: MessageEnvelope) => boolean = () => false;
  /** How many messages each call brought. */
  readonly calls: number[] = [];
  during: () => Promise<void> = async () => undefined;

  async publish(route: MessageRoute, messages: readonly MessageEnvelope[]): Promise<readonly PublishOutcome[]> {
    await this.during();
    this.calls.push(messages.length);
    if (this.isBroken(route) || messages.some((message) => this.breaksOn(message)))
      throw new TypeError('no such queue');
    if (this.isDown(route))
      throw new StoreUnavailableError({ store: 'test', operation: 'publish', outcome: 'unknown' });
    return messages.map((message) => {
      if (this.refuses(message)) return { outcome: 'rejected', reason: 'too large' };
      this.accepted.push(message.payload);
      return { outcome: 'accepted' };
    });
  }

  consume(): never {
    throw new Error('not here');
  }

  async close(): Promise<void> {}
}

const HELD: ShardLease = { isHeld: () => true, renew: async () => true, release: async () => undefined };

describe('Relay', () => {
  let store: MemoryOutboxStore;
  let bench: OutboxBench;
  let transport: ScriptedTransport;
  let codes: string[];
  let incidents: Incident[];
  let publisher: DeliveryPublisher;
  let relay: RelayPass;
  let redelivery: RedeliveryPass;

  beforeAll(() => Logger.overrideLogger(false));
  beforeEach(async () => {
    store = new MemoryOutboxStore();
    bench = new OutboxBench({ store, transaction: memoryTransaction, dispose: async () => undefined });
    transport = new ScriptedTransport();
    const reporter = new Incidents();
    codes = [];
    incidents = [];
    reporter.subscribe((incident) => {
      codes.push(incident.code);
      incidents.push(incident);
    });
    publisher = new DeliveryPublisher(store, transport, reporter);
    const range = { fromShard: 0, toShard: 0, redeliverAfterMs: 30 };
    const pauses = { redeliverAfterMs: 30, redeliverAtMostMs: 30 };
    relay = new RelayPass(range, store, publisher, new SlowStart(10), reporter);
    redelivery = new RedeliveryPass(pauses, store, publisher, new SlowStart(10), reporter);
    await bench.subscribe('points');
  });

  const publish = (awaitsAck: boolean, ...payloads: string[]) =>
    bench.append(...payloads.map((payload) => bench.record({ payload, awaitsAck })));
  const facts = () => store.operations.facts();

  it('publishes in the order of the outbox, and says when there is more', async () => {
    await publish(true, ...Array.from({ length: 13 }, (_, n) => String(n)));
    expect(await relay.run(HELD)).toBe(true);
    expect(await relay.run(HELD)).toBe(false);
    expect(transport.accepted).toEqual(Array.from({ length: 13 }, (_, n) => String(n)));
  });

  it('reports a topic without a consumer once a minute, however often its messages come by', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const parked = (topic: string, ...payloads: string[]) =>
        payloads.map((payload) => ({
          message: { ...bench.record({ topic, payload }).message, publishedAt: 0 },
          consumer: NO_CONSUMER,
          awaitsAck: true,
          deliveries: 1,
          place: undefined,
        }));
      const reports = () => incidents.splice(0).map(({ fields }) => `${fields?.topic} ${fields?.messages}`);
      await publisher.publish([...parked('one', '1', '2'), ...parked('two', '3')]);
      expect(reports()).toEqual(['one 2', 'two 1']);
      vi.advanceTimersByTime(40_000);
      await publisher.publish([...parked('one', '1'), ...parked('three', '4')]);
      expect(reports()).toEqual(['three 1']);
      vi.advanceTimersByTime(20_000);
      await publisher.publish([...parked('one', '1'), ...parked('three', '4')]);
      expect(reports()).toEqual(['one 1']);
    } finally {
      vi.useRealTimers();
    }
  });

  it('keeps what was published in flight until it is acknowledged', async () => {
    const ids = await publish(true, '1');
    await relay.run(HELD);
    expect(await facts()).toMatchObject({ pending: 0, inFlight: 1 });
    await bench.acknowledge(ids, 'points');
    expect(await facts()).toMatchObject({ pending: 0, inFlight: 0 });
  });

  it('has every message in flight before it is published', async () => {
    await publish(true, '1', '2');
    transport.during = async () => expect(await facts()).toMatchObject({ pending: 0, inFlight: 2 });
    await relay.run(HELD);
    expect(transport.accepted).toEqual(['1', '2']);
  });

  it('keeps a message that awaits no acknowledgement only until the transport accepted it', async () => {
    await publish(false, '1');
    transport.isDown = () => true;
    await expect(relay.run(HELD)).rejects.toThrow(StoreUnavailableError);
    expect(await facts()).toMatchObject({ pending: 1 });
    transport.isDown = () => false;
    await relay.run(HELD);
    expect(await facts()).toMatchObject({ pending: 0, inFlight: 0 });
    expect(transport.accepted).toEqual(['1']);
  });

  it('keeps a message to several consumers until the transport accepted it for each of them', async () => {
    await bench.subscribe('stock');
    await publish(false, '1');
    transport.isDown = () => true;
    await expect(relay.run(HELD)).rejects.toThrow(StoreUnavailableError);
    expect(await facts()).toMatchObject({ pending: 1, inFlight: 0 });
    transport.isDown = ({ consumer }) => consumer === 'stock';
    await relay.run(HELD);
    expect(await facts()).toMatchObject({ pending: 0, inFlight: 1 });
    transport.isDown = () => false;
    await redelivery.run();
    expect(await facts()).toMatchObject({ pending: 0, inFlight: 0 });
    expect(transport.accepted).toEqual(['1', '1']);
  });

  it.each([true, false])('does not let a broken route hold up the others (until-ack: %s)', async (awaitsAck) => {
    await bench.subscribe('broken');
    transport.isBroken = ({ consumer }) => consumer === 'broken';
    await publish(awaitsAck, ...Array.from({ length: 25 }, (_, n) => String(n)));
    while (await relay.run(HELD));
    expect(transport.accepted).toEqual(Array.from({ length: 25 }, (_, n) => String(n)));
    expect(new Set(codes)).toEqual(new Set(['OUTBOX_ROUTE_BROKEN']));
    expect(await facts()).toMatchObject({ pending: 0, inFlight: awaitsAck ? 50 : 25 });
    transport.isBroken = () => false;
    await eventually(() => redelivery.run().then(() => expect(transport.accepted.length).toBeGreaterThanOrEqual(50)));
  });

  it('does not let a route that is out of reach alone hold up the others, once another has answered since', async () => {
    const [far, near] = ['far', 'near'];
    for (const topic of [far, near]) await store.subscribe([{ topic, consumer: 'points' }]);
    transport.isDown = ({ topic }) => topic === far;
    const append = (topic: string, payload: string) => bench.append(bench.record({ topic, payload }));
    await append(far, 'far 1');
    await append(near, 'near 1');
    while (await relay.run(HELD));
    await append(far, 'far 2');
    await append(near, 'near 2');
    for (let passes = 0; passes < 2; passes += 1) while (await relay.run(HELD));
    expect(transport.accepted).toEqual(['near 1', 'near 2']);
    expect(codes).toContain('OUTBOX_ROUTE_BROKEN');
  });

  it.each([true, false])(
    'holds nothing for longer than half a minute, whoever is away (until-ack: %s)',
    async (awaitsAck) => {
      vi.useFakeTimers({ toFake: ['performance'] });
      try {
        await publish(awaitsAck, '1');
        transport.isDown = () => true;
        await expect(relay.run(HELD)).rejects.toThrow(StoreUnavailableError);
        vi.advanceTimersByTime(29_000);
        await expect(relay.run(HELD)).rejects.toThrow(StoreUnavailableError);
        expect(codes).toEqual([]);
        vi.advanceTimersByTime(1_001);
        await expect(relay.run(HELD)).rejects.toThrow(StoreUnavailableError);
        expect(codes).toEqual(['OUTBOX_ROUTE_BROKEN']);
        transport.isDown = () => false;
        await publish(awaitsAck, '2');
        while (await relay.run(HELD));
        expect(transport.accepted).toEqual(['2']);
      } finally {
        vi.useRealTimers();
      }
    },
  );

  it('loses no delivery of a message when one route is broken and the other away', async () => {
    await bench.subscribe('broken');
    await publish(false, '1');
    transport.isBroken = ({ consumer }) => consumer === 'broken';
    transport.isDown = () => true;
    await relay.run(HELD);
    expect(await facts()).toMatchObject({ pending: 0, inFlight: 2 });
  });

  it('publishes what it holds first when the transport is back, so that nothing overtakes it', async () => {
    await publish(true, '1', '2');
    transport.isDown = () => true;
    await expect(relay.run(HELD)).rejects.toThrow(StoreUnavailableError);
    await publish(true, '3');
    transport.isDown = () => false;
    while (await relay.run(HELD));
    expect(transport.accepted).toEqual(['1', '2', '3']);
  });

  it('does not publish when its lease ended between claim and publish, and the scan makes up for it', async () => {
    await publish(true, '1');
    const ended: ShardLease = { ...HELD, isHeld: () => false };
    expect(await relay.run(ended)).toBe(false);
    expect(transport.accepted).toEqual([]);
    expect(codes).toEqual(['OUTBOX_LEASE_LOST_BEFORE_PUBLISH']);
    await eventually(() => redelivery.run().then(() => expect(transport.accepted).toEqual(['1'])));
  });

  it('drops what it holds when it owns the shard anew: somebody else may have gone on meanwhile', async () => {
    await publish(true, '1');
    transport.isDown = () => true;
    await expect(relay.run(HELD)).rejects.toThrow(StoreUnavailableError);
    transport.isDown = () => false;
    await publish(true, '2');
    await relay.run({ ...HELD });
    expect(transport.accepted).toEqual(['2']);
  });

  it.each([true, false])('buries a message that the transport refuses, alone (until-ack: %s)', async (awaitsAck) => {
    await publish(awaitsAck, '1', 'huge', '3');
    transport.refuses = ({ payload }) => payload === 'huge';
    await relay.run(HELD);
    expect(transport.accepted).toEqual(['1', '3']);
    const [letter, ...others] = await store.operations.deadLetters({ limit: 10 });
    expect(others).toEqual([]);
    expect(letter).toMatchObject({ error: 'too large', message: { payload: 'huge' } });
    expect(codes).toEqual(['OUTBOX_MESSAGE_DEAD']);
    expect(await facts()).toMatchObject({ pending: 0, inFlight: awaitsAck ? 2 : 0, dead: 1 });
  });

  it.each([true, false])('finds the one message that cannot be published, alone (until-ack: %s)', async (awaitsAck) => {
    transport.breaksOn = ({ payload }) => payload === 'poison';
    const others = Array.from({ length: 9 }, (_, n) => String(n));
    await publish(awaitsAck, ...others.slice(0, 4), 'poison', ...others.slice(4));
    await relay.run(HELD);
    expect(transport.accepted).toEqual(others);
    expect(codes).toEqual(['OUTBOX_MESSAGE_NOT_TAKEN']);
    let next = 0;
    await eventually(async () => {
      await publish(false, `later ${next++}`);
      await relay.run(HELD);
      await redelivery.run();
      expect(await facts()).toMatchObject({ dead: 1 });
    });
    const [letter] = await store.operations.deadLetters({ limit: 10 });
    expect(letter).toMatchObject({ error: 'it cannot be published: no such queue', message: { payload: 'poison' } });
    expect(new Set(transport.accepted).size).toBe(others.length + next);
  });

  it('buries nothing because a whole route fails, however often, and does not search it to the end', async () => {
    transport.isBroken = () => true;
    await publish(true, ...Array.from({ length: 10 }, (_, n) => String(n)));
    await relay.run(HELD);
    for (let pass = 0; pass < 8; pass += 1) {
      await eventually(async () => {
        const before = transport.calls.length;
        await redelivery.run();
        expect(transport.calls.length).toBeGreaterThan(before);
      });
    }
    transport.isBroken = () => false;
    await eventually(() => redelivery.run().then(() => expect(transport.accepted).toHaveLength(10)));
    expect(await facts()).toMatchObject({ dead: 0, inFlight: 10 });
  });

  it('searches a broken route only as far as one or two messages could hide', async () => {
    transport.isBroken = () => true;
    await publish(true, ...Array.from({ length: 500 }, (_, n) => String(n)));
    const range = { fromShard: 0, toShard: 0, redeliverAfterMs: 30 };
    await new RelayPass(range, store, publisher, new SlowStart(500), new Incidents()).run(HELD);
    expect(transport.calls.length).toBeLessThanOrEqual(25);
    expect(await facts()).toMatchObject({ pending: 0, inFlight: 500, dead: 0 });
  });

  it('buries nothing that a route which comes and goes did not take', async () => {
    transport.isBroken = () => true;
    await publish(true, '1', '2', '3');
    await relay.run(HELD);
    for (let outage = 0; outage < 6; outage += 1) {
      transport.isBroken = () => false;
      const before = transport.accepted.length;
      await eventually(() => redelivery.run().then(() => expect(transport.accepted.length).toBe(before + 3)));
      transport.isBroken = () => true;
      const calls = transport.calls.length;
      await eventually(() => redelivery.run().then(() => expect(transport.calls.length).toBeGreaterThan(calls)));
    }
    expect(await facts()).toMatchObject({ dead: 0, inFlight: 3 });
  });

  it('publishes one by one what was delivered five times in vain', async () => {
    await publish(true, '1', '2', '3');
    await relay.run(HELD);
    await eventually(async () => {
      await redelivery.run();
      expect(transport.calls.slice(-3)).toEqual([1, 1, 1]);
    });
    expect(transport.calls.slice(0, 4)).toEqual([3, 3, 3, 3]);
    expect(transport.accepted.slice(-3)).toEqual(['1', '2', '3']);
  });

  it('publishes what waits on a strict key by stretches of its sequence, always the same ones', async () => {
    const sequence = Array.from({ length: 40 }, (_, index) => index + 1);
    const overdue = (numbers: readonly number[]) =>
      numbers.map((n) => {
        const headers = { 'Lockstep-Sequence': `1700000000000.${n}` };
        const { message } = bench.record({ payload: String(n), key: 'k', headers });
        const envelope = { ...message, publishedAt: 0 };
        return { message: envelope, consumer: 'points', awaitsAck: true, deliveries: 5, place: undefined };
      });
    const given = vi.spyOn(store, 'overdue');
    given.mockResolvedValueOnce(overdue(sequence.toReversed()));
    await redelivery.run();
    expect(transport.calls).toEqual([31, 9]);
    expect(transport.accepted).toEqual(sequence.map(String));
    // Also when the first ones have taken effect: what waits with the transport must be found to be the same.
    given.mockResolvedValueOnce(overdue(sequence.slice(20)));
    await redelivery.run();
    expect(transport.calls).toEqual([31, 9, 11, 9]);
    given.mockRestore();
  });

  it('publishes again what nobody acknowledged, and reports it when that goes on', async () => {
    await publish(true, '1');
    await relay.run(HELD);
    await eventually(async () => {
      await redelivery.run();
      expect(codes).toContain('OUTBOX_UNACKNOWLEDGED');
    });
    expect(transport.accepted.length).toBeGreaterThanOrEqual(5);
  });

  it('keeps what has no consumer, reports it, and delivers it when there is one', async () => {
    await bench.store.operations.retire({ topic: bench.topic, consumer: 'points' });
    await publish(true, '1');
    await publish(false, '2');
    while (await relay.run(HELD));
    expect(codes).toEqual(['OUTBOX_TOPIC_WITHOUT_CONSUMER']);
    expect(transport.accepted).toEqual([]);
    await bench.subscribe('stock');
    await eventually(() => redelivery.run().then(() => expect(transport.accepted.sort()).toEqual(['1', '2'])));
    expect(await facts()).toMatchObject({ inFlight: 1 });
  });

  it('takes one message after an outage, then twice as many each time', () => {
    const pace = new SlowStart(10);
    const limits: number[] = [pace.limit];
    pace.failed();
    expect(pace.isPausing()).toBe(true);
    for (let step = 0; step < 5; step += 1) {
      limits.push(pace.limit);
      pace.succeeded();
    }
    expect(limits).toEqual([10, 1, 2, 4, 8, 10]);
  });
});
