import { types } from 'node:util';
import {
  type Attributes,
  type Counter,
  context,
  type Histogram,
  type MeterProvider,
  metrics,
  type Span,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { isLockstepError } from '../errors/lockstep-error.js';

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
      recordError(span, error);
      throw error;
    } finally {
      span.end();
    }
  });
}

/** A span of work that runs in pieces. */
export interface OpenSpan {
  /** Runs one piece; spans that it begins are children of this one. */
  run<T>(fn: () => T): T;
  /** Ends the span, once; with the error that the work ended by, which is recorded. */
  end(...error: [] | [unknown]): void;
}

/** Like {@link withSpan}, for work whose end is not that of a function. */
export function openSpan(name: string, attributes: Attributes): OpenSpan {
  const span = trace.getTracer(SCOPE).startSpan(name, { attributes });
  return {
    run: (fn) => context.with(trace.setSpan(context.active(), span), fn),
    end: (...error) => {
      if (error.length > 0) recordError(span, error[0]);
      span.end();
    },
  };
}

function recordError(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR });
  span.setAttribute('error.type', errorType(error));
  if (types.isNativeError(error)) span.recordException(error);
}

function errorType(error: unknown): string {
  if (isLockstepError(error)) return error.code;
  return types.isNativeError(error) ? error.name : '_OTHER';
}

let provider: MeterProvider | undefined;
const counters = new Map<string, Counter>();
const histograms = new Map<string, Histogram>();

/** The boundaries that the semantic conventions advise for durations, and a minute and ten for what may wait. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 60, 600];

/** Adds to a counter; a no-op without an SDK. The attributes must be few and bounded: no keys, no ids. */
export function count(name: string, attributes: Attributes = {}, value = 1): void {
  const current = currentProvider();
  const counter = counters.get(name) ?? current.getMeter(SCOPE).createCounter(name);
  counters.set(name, counter);
  counter.add(value, attributes);
}

/** Notes one duration in a histogram; a no-op without an SDK. The attributes must be few and bounded, as in {@link count}. */
export function record(name: string, seconds: number, attributes: Attributes = {}): void {
  const current = currentProvider();
  const histogram = histograms.get(name) ?? durationHistogram(current, name);
  histograms.set(name, histogram);
  histogram.record(seconds, attributes);
}

function durationHistogram(of: MeterProvider, name: string): Histogram {
  return of.getMeter(SCOPE).createHistogram(name, { unit: 's', advice: { explicitBucketBoundaries: SECONDS } });
}

/** An instrument made before the SDK was registered would note nothing for ever, so they are made anew for each. */
function currentProvider(): MeterProvider {
  const current = metrics.getMeterProvider();
  if (current !== provider) {
    provider = current;
    counters.clear();
    histograms.clear();
  }
  return current;
}
