import { AsyncLocalStorage } from 'node:async_hooks';
import type { CarriedHeaders, ContextCarriers } from '@lockstep/core';
import { type ContextManager, type Span, SpanKind, type SpanOptions, type Telemetry, type Tracer } from 'bullmq';
import { decodeMetadata, encodeMetadata } from './job-metadata.js';
import { NO_SPAN } from './no-span.js';

/** What BullMQ passes around as a context. */
interface JobContext {
  /** That of the other telemetry. */
  readonly inner: unknown;
  /** Of the job that is to be handled in this context; undefined: as it is. */
  readonly headers: CarriedHeaders | undefined;
  /** What the span on it is about. */
  readonly kind: SpanKind | undefined;
}

/** The job at hand. */
interface JobAtHand {
  readonly headers: CarriedHeaders;
  /** The processor has returned: what the worker does now is on behalf of nobody, the next job included. */
  isSettled: boolean;
}

const SETTLING = /^(?:complete|fail|retry|delay)\b/;

/**
 * Carries the context of whoever adds a job, the signed principal of the session among it, to the processor of the job:
 * `BullModule.forRootAsync({ inject: [ContextCarriers], useFactory: (carriers) => ({ connection, telemetry:
 * contextTelemetry(carriers) }) })`. It must be on both sides, on queues and flows as on workers. A job keeps its context
 * over retries, and so do the jobs of a scheduler; a job without one is handled on behalf of nobody.
 *
 * BullMQ keeps it in the job's options (`telemetry.metadata`), where anybody who can write to the queue can change it:
 * carriers believe only what is signed. `telemetry: { omitContext: true }` of a job leaves it out.
 *
 * @param telemetry another one, such as that of `bullmq-otel`, which works inside of this one
 */
export function contextTelemetry(carriers: ContextCarriers, telemetry?: Telemetry): Telemetry<JobContext> {
  return {
    tracer: new ContextTracer(telemetry?.tracer),
    contextManager: contextManagerOf(carriers, telemetry?.contextManager),
    ...(telemetry?.meter ? { meter: telemetry.meter } : {}),
  };
}

const atHand = new AsyncLocalStorage<JobAtHand>();

function contextManagerOf(carriers: ContextCarriers, inner: ContextManager | undefined): ContextManager<JobContext> {
  return {
    active: () => ({ inner: inner?.active(), headers: undefined, kind: undefined }),
    root: () => ({ inner: inner?.root?.() ?? inner?.active(), headers: {}, kind: undefined }),
    with: (context, fn) => {
      const { headers } = context;
      const inside = (): ReturnType<typeof fn> => (inner ? inner.with(context.inner, fn) : fn());
      if (!headers) return inside();
      return atHand.run({ headers, isSettled: false }, () => carriers.run(headers, inside));
    },
    getMetadata: ({ inner: context, kind }) => {
      const headers = headersFor(carriers, kind);
      // An empty text leaves what the job has.
      return headers ? encodeMetadata({ headers, inner: inner?.getMetadata(context) }) : '';
    },
    fromMetadata: (active, metadata) => {
      const { headers, inner: own } = decodeMetadata(metadata);
      const context = inner && own !== undefined ? inner.fromMetadata(active.inner, own) : active.inner;
      return { inner: context, headers, kind: active.kind };
    },
  };
}

/** A job that is put back takes along what it came with, whatever its processor did to the context. */
function headersFor(carriers: ContextCarriers, kind: SpanKind | undefined): CarriedHeaders | undefined {
  const job = atHand.getStore();
  if (kind === SpanKind.INTERNAL) return job?.headers;
  return job?.isSettled ? {} : carriers.inject();
}

class ContextTracer implements Tracer<JobContext> {
  constructor(private readonly inner: Tracer<unknown> | undefined) {}

  startSpan(name: string, options: SpanOptions = { kind: SpanKind.INTERNAL }, context?: JobContext): Span<JobContext> {
    const { kind } = options;
    const job = atHand.getStore();
    if (job && kind === SpanKind.INTERNAL && SETTLING.test(name)) job.isSettled = true;
    const span: Span<unknown> = this.inner?.startSpan(name, options, context?.inner) ?? NO_SPAN;
    return {
      setSpanOnContext: ({ inner, headers }) => ({
        inner: span.setSpanOnContext(inner),
        // The context in which the worker was started is nobody's whose job came without one.
        headers: kind === SpanKind.CONSUMER ? (headers ?? {}) : headers,
        kind,
      }),
      setAttribute: (key, value) => span.setAttribute(key, value),
      setAttributes: (attributes) => span.setAttributes(attributes),
      addEvent: (event, attributes) => span.addEvent(event, attributes),
      recordException: (exception, time) => span.recordException(exception, time),
      end: () => span.end(),
    };
  }
}
