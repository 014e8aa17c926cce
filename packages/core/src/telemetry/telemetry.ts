import { type Attributes, type Counter, metrics, type Span, SpanStatusCode, trace } from '@opentelemetry/api';

const SCOPE = '@lockstep';

/**
 * Runs `fn` in a span of its own; a rejection is recorded and passes through. Without an OpenTelemetry SDK this is a
 * plain call. Business keys may be span attributes, never metric attributes.
 */
export function withSpan<T>(name: string, attributes: Attributes, fn: (span: Span) => Promise<T>): Promise<T> {
  return trace.getTracer(SCOPE).startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await fn(span);
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR });
      if (error instanceof Error) span.recordException(error);
      throw error;
    } finally {
      span.end();
    }
  });
}

const counters = new Map<string, Counter>();

/** Adds to a counter; a no-op without an SDK. The attributes must be few and bounded: no keys, no ids. */
export function count(name: string, attributes: Attributes = {}, value = 1): void {
  let counter = counters.get(name);
  if (!counter) {
    counter = metrics.getMeter(SCOPE).createCounter(name);
    counters.set(name, counter);
  }
  counter.add(value, attributes);
}
