import 'reflect-metadata';
import { OnMessage } from '@lockstep/outbox';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Injectable } from '@nestjs/common';
import { context, propagation, SpanKind, type TextMapPropagator, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { HandTransport } from './support/hand-transport.js';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';

@Injectable()
class Points {
  @OnMessage('paid', { consumer: 'points' })
  async one({ fails }: { fails?: boolean }): Promise<void> {
    if (fails) throw new RangeError('no');
  }

  @OnMessage('paid', { consumer: 'ledger', batch: true })
  async many(): Promise<void> {}
}

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-01$/;

/** As much of W3C's Trace Context as the headers of a message need. */
const w3c: TextMapPropagator = {
  fields: () => ['traceparent'],
  inject: () => undefined,
  extract: (around, carrier: Record<string, string>) => {
    const [, traceId = '', spanId = ''] = TRACEPARENT.exec(carrier.traceparent ?? '') ?? [];
    return traceId === '' ? around : trace.setSpanContext(around, { traceId, spanId, traceFlags: 1, isRemote: true });
  },
};

describe('Spans of deliveries', () => {
  const postgres = usePostgres();
  const exporter = new InMemorySpanExporter();
  const hands = new HandTransport();
  let application: OutboxApplication;

  beforeAll(async () => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
    propagation.setGlobalPropagator(w3c);
    const transport = { useFactory: () => hands };
    application = await startOutbox({ url: postgres.url, providers: [Points], transport, run: { relay: false } });
    await eventually(() => expect(hands.isConsumed({ topic: 'paid', consumer: 'ledger' })).toBe(true));
  });
  afterAll(async () => {
    await application.app.close();
    for (const api of [context, trace, propagation]) api.disable();
  });
  beforeEach(() => exporter.reset());

  const message = (hex: string, body: object = {}) => ({
    id: uuidv7(),
    topic: 'paid',
    key: undefined,
    payload: JSON.stringify(body),
    headers: { traceparent: `00-${hex.repeat(32)}-${hex.repeat(16)}-01` },
    publishedAt: 1,
  });
  const spans = () => exporter.getFinishedSpans().filter(({ kind }) => kind === SpanKind.CONSUMER);
  const parentsOfTransactions = () =>
    exporter
      .getFinishedSpans()
      .filter(({ name }) => name === 'lockstep.sql.transaction')
      .map(({ parentSpanContext }) => parentSpanContext?.spanId);

  it('are children of what published the message, at the first delivery', async () => {
    const paid = message('a');
    await hands.hand({ topic: 'paid', consumer: 'points' }, { message: paid, attempt: 1 });
    const [span, ...others] = spans();
    expect(others).toEqual([]);
    expect(span).toMatchObject({
      name: 'process paid',
      parentSpanContext: { traceId: 'a'.repeat(32), spanId: 'a'.repeat(16) },
      attributes: {
        'messaging.operation.type': 'process',
        'messaging.destination.name': 'paid',
        'messaging.consumer.group.name': 'points',
        'messaging.message.id': paid.id,
      },
      links: [],
    });
    expect(parentsOfTransactions()).toContain(span?.spanContext().spanId);
  });

  it('begin a trace of their own, linked to what published the message, when it is delivered again', async () => {
    await hands.hand({ topic: 'paid', consumer: 'points' }, { message: message('b'), attempt: 2 });
    const [span] = spans();
    expect(span?.parentSpanContext).toBeUndefined();
    expect(span?.links).toMatchObject([{ context: { traceId: 'b'.repeat(32), spanId: 'b'.repeat(16) } }]);
    expect(parentsOfTransactions()).toContain(span?.spanContext().spanId);
  });

  it('are linked to all that published the messages of a batch', async () => {
    const deliveries = ['c', 'd'].map((hex) => ({ message: message(hex), attempt: 1 }));
    await hands.hand({ topic: 'paid', consumer: 'ledger' }, ...deliveries);
    const [span] = spans();
    expect(span?.attributes['messaging.batch.message_count']).toBe(2);
    expect(span?.links.map((link) => link.context.traceId)).toEqual(['c'.repeat(32), 'd'.repeat(32)]);
  });

  it('say what failed', async () => {
    await hands.hand({ topic: 'paid', consumer: 'points' }, { message: message('e', { fails: true }), attempt: 1 });
    expect(spans()).toMatchObject([{ status: { code: 2 }, attributes: { 'error.type': 'RangeError' } }]);
  });
});
