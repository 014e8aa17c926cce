import 'reflect-metadata';
import { withSpan } from '@lockstep/core';
import { type Message, OnMessage, OutboxService } from '@lockstep/outbox';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Injectable } from '@nestjs/common';
import { SpanKind, trace } from '@opentelemetry/api';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OutboxApplication, type OutboxApplicationOptions, startOutbox } from './support/outbox-application.js';
import { SharedTransport } from './support/shared-transport.js';
import { Tracing } from './support/tracing.js';

const seen: { readonly n: number; readonly traceId: string | undefined }[] = [];
let handling: (n: number) => Promise<void> = async () => undefined;

@Injectable()
class Points {
  @OnMessage('job', { consumer: 'points', backoff: { first: 10, atMost: 10 } })
  async grant({ n }: { n: number }, _message: Message): Promise<void> {
    seen.push({ n, traceId: trace.getActiveSpan()?.spanContext().traceId });
    await handling(n);
  }
}

async function emptied(url: string): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await client.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
  } finally {
    await client.end();
  }
}

describe('Tracing', () => {
  const mall = usePostgres();
  const shop = usePostgres();
  const applications: OutboxApplication[] = [];
  let tracing: Tracing;
  let transport: SharedTransport;

  beforeEach(() => {
    seen.length = 0;
    handling = async () => undefined;
    transport = new SharedTransport();
    tracing = new Tracing();
    tracing.register();
  });
  afterEach(async () => {
    tracing.unregister();
    for (const { app } of applications.splice(0)) await app.close();
    // Not by an application: what is still at work would make it wait for longer than its commands may take.
    for (const { url } of [mall, shop]) await emptied(url);
    await transport.broker.close();
  });

  const start = async (options: Partial<OutboxApplicationOptions>): Promise<OutboxApplication> => {
    const application = await startOutbox({ url: mall.url, transport: transport.provider, ...options });
    applications.push(application);
    return application;
  };
  const producer = () => start({ topics: { job: { consumers: ['points'] } } });
  const consumer = () => start({ url: shop.url, origin: 'shop', providers: [Points] });
  const publish = ({ app, sql }: OutboxApplication, ns: number[], headers: Record<string, string> = {}) =>
    sql.transaction(() => app.get(OutboxService).publishMany(ns.map((n) => ({ topic: 'job', body: { n }, headers }))));

  it('goes from the call that published to the handler in another application as one trace', async () => {
    const from = await producer();
    await consumer();
    await withSpan('place order', {}, () => publish(from, [1]));
    await eventually(() => expect(seen).toHaveLength(1));
    const [order] = tracing.named('place order');
    expect(seen[0]?.traceId).toBe(order?.spanContext().traceId);
    const [published] = tracing.named('lockstep.outbox.publish');
    expect(published?.kind).toBe(SpanKind.PRODUCER);
    expect(published?.spanContext().traceId).toBe(order?.spanContext().traceId);
    // On a slow machine the relay may deliver once more before the acknowledgement is there.
    await eventually(() => expect(tracing.named('process job')).not.toEqual([]));
  });

  it('links each batch of the relay, also a later delivery, to where its messages were published', async () => {
    const from = await producer();
    await withSpan('first', {}, () => publish(from, [1]));
    await withSpan('second', {}, () => publish(from, [2]));
    const origins = tracing.named('lockstep.outbox.publish').map((span) => span.spanContext().spanId);
    await eventually(() => {
      const redelivered = tracing
        .named('lockstep.outbox.relay')
        .filter((span) => Number(span.attributes['lockstep.outbox.redelivered']) > 0);
      const linked = redelivered.flatMap(({ links }) => links.map(({ context }) => context.spanId));
      expect(linked).toEqual(expect.arrayContaining(origins));
    });
    const relayed = tracing.named('lockstep.outbox.relay');
    expect(relayed.every(({ parentSpanContext }) => parentSpanContext === undefined)).toBe(true);
  });

  it('bounds the links of a large batch', async () => {
    const from = await producer();
    await publish(
      from,
      Array.from({ length: 400 }, (_, n) => n),
    );
    await eventually(() => {
      const sizes = tracing.named('lockstep.outbox.relay').map(({ links }) => links.length);
      expect(Math.max(...sizes)).toBe(32);
    });
  });

  it('is not confused by a header of the user that looks like a trace', async () => {
    const from = await producer();
    await consumer();
    const forged = { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, TraceState: 'x=1', tracestate: 'y=2' };
    await withSpan('place order', {}, () => publish(from, [1], forged));
    await publish(from, [2], { traceparent: 'nonsense' });
    await eventually(() => expect(seen).toHaveLength(2));
    const [order] = tracing.named('place order');
    expect(seen.find(({ n }) => n === 1)?.traceId).toBe(order?.spanContext().traceId);
    const span = await eventually(() => {
      const [one] = tracing
        .named('process job')
        .filter((each) => each.spanContext().traceId === order?.spanContext().traceId);
      expect(one).toBeDefined();
      return one;
    });
    expect(span?.spanContext().traceState).toBeUndefined();
  });
});
