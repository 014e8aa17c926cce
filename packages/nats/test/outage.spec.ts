import 'reflect-metadata';
import type { StoreUnavailableError } from '@lockstep/core';
import { natsTransport } from '@lockstep/nats';
import type { DeliveryOutcome } from '@lockstep/outbox';
import { eventually, freePort, startNats } from '@lockstep/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { Consumer, newMessages, newRoute } from './support/messages.js';
import { make } from './support/nats-ends.js';

const EACH_BY_ITSELF = { concurrency: 2, batchSize: 10 };
const PATIENT = { timeoutMs: 15_000, intervalMs: 50 };

describe('a NATS server that goes away', () => {
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  const start = async (port: number) => {
    const server = await startNats({ port });
    ends.push(() => server.stop());
    return server;
  };
  const open = async (port: number) => {
    const made = await make(natsTransport({ servers: `nats://127.0.0.1:${port}`, ackWait: '1s', commandTimeout: 300 }));
    ends.push(() => made.port.close());
    return made;
  };

  it('may be down when the application starts: publishing says so in time, consuming begins when it comes', async () => {
    const port = await freePort();
    const { port: transport } = await open(port);
    const route = newRoute();
    const consumer = new Consumer();
    await transport.consume(route, consumer.handler, EACH_BY_ITSELF);
    const startedAt = performance.now();
    const refused = transport.publish(route, newMessages(route, 1));
    await expect(refused).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied' });
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    await start(port);
    await eventually(() => transport.publish(route, newMessages(route, 3)), PATIENT);
    await eventually(() => expect(consumer.deliveries.length).toBeGreaterThanOrEqual(3), PATIENT);
  }, 60_000);

  it('may come back with nothing: the same transport publishes and delivers again', async () => {
    const port = await freePort();
    const server = await start(port);
    const { port: transport, incidents } = await open(port);
    const route = newRoute();
    const consumer = new Consumer();
    await transport.consume(route, consumer.handler, EACH_BY_ITSELF);
    await eventually(() => transport.publish(route, newMessages(route, 1)), PATIENT);
    await eventually(() => expect(consumer.deliveries).toHaveLength(1), PATIENT);
    await server.restart({ empty: true });
    const messages = newMessages(route, 20);
    await eventually(() => transport.publish(route, messages), PATIENT);
    await eventually(
      () => expect(consumer.ids()).toEqual(expect.arrayContaining(messages.map(({ id }) => id))),
      PATIENT,
    );
    expect(incidents.length).toBeLessThan(500);
  }, 60_000);

  it('may be killed: nothing that it accepted is lost, and nothing is delivered a second time that it knew had ended', async () => {
    const port = await freePort();
    const server = await start(port);
    const { port: transport } = await open(port);
    const route = newRoute();
    const consumer = new Consumer();
    const ended = newMessages(route, 10);
    await eventually(() => transport.publish(route, ended), PATIENT);
    const subscription = await transport.consume(route, consumer.handler, EACH_BY_ITSELF);
    await eventually(() => expect(consumer.deliveries).toHaveLength(10), PATIENT);
    await subscription.close();
    const accepted = newMessages(route, 200);
    await eventually(() => transport.publish(route, accepted), PATIENT);
    await server.kill();
    await server.restart();
    const second = new Consumer();
    await transport.consume(route, second.handler, EACH_BY_ITSELF);
    await eventually(() => expect(second.deliveries.length).toBeGreaterThanOrEqual(200), PATIENT);
    expect(second.ids()).toEqual(accepted.map(({ id }) => id));
  }, 60_000);

  it('may restart while a batch runs: everything is delivered', async () => {
    const port = await freePort();
    const server = await start(port);
    const { port: transport } = await open(port);
    const route = newRoute();
    const messages = newMessages(route, 30);
    let restarting: Promise<void> | undefined;
    const consumer = new Consumer(async () => {
      restarting ??= server.restart();
      await restarting;
      return { outcome: 'done' };
    });
    await eventually(() => transport.publish(route, messages), PATIENT);
    await transport.consume(route, consumer.handler, EACH_BY_ITSELF);
    await eventually(() => expect(new Set(consumer.ids()).size).toBe(30), PATIENT);
    const later = newMessages(route, 5);
    await eventually(() => transport.publish(route, later), PATIENT);
    await eventually(() => expect(consumer.ids()).toEqual(expect.arrayContaining(later.map(({ id }) => id))), PATIENT);
  }, 60_000);

  it('may be away for longer than it waits while a handler works: the message is not handed over a second time', async () => {
    const port = await freePort();
    const server = await start(port);
    const { port: transport, incidents } = await open(port);
    const route = newRoute();
    let letGo: () => void = () => undefined;
    const working = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const [slow, next] = newMessages(route, 2);
    if (!slow || !next) throw new Error('two messages');
    const consumer = new Consumer(async ({ message }): Promise<DeliveryOutcome> => {
      if (message.id === slow.id) await working;
      return { outcome: 'done' };
    });
    await eventually(() => transport.publish(route, [slow]), PATIENT);
    await transport.consume(route, consumer.handler, EACH_BY_ITSELF);
    await eventually(() => expect(consumer.deliveries).toHaveLength(1), PATIENT);
    await server.kill();
    const longer = performance.now() + 1_500;
    await eventually(() => expect(performance.now()).toBeGreaterThan(longer), PATIENT);
    await server.restart();
    await eventually(() => transport.publish(route, [next]), PATIENT);
    await eventually(() => expect(consumer.ids()).toContain(next.id), PATIENT);
    const redelivered = performance.now() + 1_500;
    await eventually(() => expect(performance.now()).toBeGreaterThan(redelivered), PATIENT);
    letGo();
    await eventually(() => transport.publish(route, newMessages(route, 1)), PATIENT);
    await eventually(() => expect(consumer.deliveries.length).toBeGreaterThanOrEqual(3), PATIENT);
    expect(consumer.ids().filter((id) => id === slow.id)).toHaveLength(1);
    expect(incidents.map(({ code }) => code)).toContain('NATS_CONNECTION_LOST');
  }, 60_000);

  it('that falls silent while a batch is settled counts nothing against a message that was postponed', async () => {
    const port = await freePort();
    const server = await start(port);
    const { port: transport } = await open(port);
    const route = newRoute();
    const [done, postponed] = newMessages(route, 2);
    if (!done || !postponed) throw new Error('two messages');
    const consumer = new Consumer(({ message }): DeliveryOutcome => {
      if (message.id === done.id || consumer.deliveries.length > 2) return { outcome: 'done' };
      server.pause();
      setTimeout(() => server.resume(), 700);
      return { outcome: 'postpone', delayMs: 20, error: new Error('the database is away') };
    });
    await eventually(() => transport.publish(route, [done, postponed]), PATIENT);
    await transport.consume(route, consumer.handler, { concurrency: 1, batchSize: 10 });
    const ofPostponed = () => consumer.deliveries.filter(({ message }) => message.id === postponed.id);
    await eventually(() => expect(ofPostponed().length).toBeGreaterThanOrEqual(2), PATIENT);
    const settledAt = performance.now() + 2_500;
    await eventually(() => expect(performance.now()).toBeGreaterThan(settledAt), PATIENT);
    expect(new Set(consumer.deliveries.map(({ attempt }) => attempt))).toEqual(new Set([1]));
    expect(consumer.ids().filter((id) => id === done.id)).toHaveLength(1);
  }, 60_000);

  it('that stops answering leaves a publish with an unknown outcome, within the command timeout', async () => {
    const port = await freePort();
    const server = await start(port);
    const { port: transport } = await open(port);
    const route = newRoute();
    await eventually(() => transport.publish(route, newMessages(route, 1)), PATIENT);
    server.pause();
    ends.push(async () => server.resume());
    const startedAt = performance.now();
    const error = await transport.publish(route, newMessages(route, 1)).catch((cause: StoreUnavailableError) => cause);
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'unknown' });
    expect(performance.now() - startedAt).toBeLessThan(900);
    server.resume();
    await eventually(() => transport.publish(route, newMessages(route, 1)), PATIENT);
  }, 60_000);

  it('does not hold up the end of an application that it left', async () => {
    const port = await freePort();
    const server = await start(port);
    const { port: transport } = await open(port);
    const route = newRoute();
    await transport.consume(route, new Consumer().handler, EACH_BY_ITSELF);
    await eventually(() => transport.publish(route, newMessages(route, 1)), PATIENT);
    await server.kill();
    const startedAt = performance.now();
    await transport.close();
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  }, 60_000);

  it('is not waited for by a subscription that closes with nothing under way', async () => {
    const port = await freePort();
    const { port: transport, incidents } = await open(port);
    const neverReached = await transport.consume(newRoute(), new Consumer().handler, EACH_BY_ITSELF);
    const startedAt = performance.now();
    await neverReached.close();
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    const server = await start(port);
    const route = newRoute();
    const consumer = new Consumer();
    const left = await transport.consume(route, consumer.handler, EACH_BY_ITSELF);
    await eventually(() => transport.publish(route, newMessages(route, 1)), PATIENT);
    await eventually(() => expect(consumer.deliveries).not.toHaveLength(0), PATIENT);
    await server.kill();
    const killedAt = performance.now();
    await left.close();
    expect(performance.now() - killedAt).toBeLessThan(1_500);
    expect(incidents.map(({ code }) => code)).not.toContain('DELIVERY_FAILED');
  }, 60_000);

  it('is waited for by a subscription whose handler is at work, until the handler has ended', async () => {
    const port = await freePort();
    const server = await start(port);
    const { port: transport } = await open(port);
    const route = newRoute();
    let letGo: () => void = () => undefined;
    const working = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const consumer = new Consumer(async (): Promise<DeliveryOutcome> => {
      await working;
      return { outcome: 'done' };
    });
    const subscription = await transport.consume(route, consumer.handler, EACH_BY_ITSELF);
    await eventually(() => transport.publish(route, newMessages(route, 1)), PATIENT);
    await eventually(() => expect(consumer.deliveries).not.toHaveLength(0), PATIENT);
    await server.kill();
    let closed = false;
    const closing = subscription.close().then(() => {
      closed = true;
    });
    const longEnough = performance.now() + 1_200;
    await eventually(() => expect(performance.now()).toBeGreaterThan(longEnough), PATIENT);
    expect(closed).toBe(false);
    letGo();
    await closing;
  }, 60_000);
});
