import { types } from 'node:util';
import {
  type Attributes,
  context,
  type Link,
  type Span,
  type SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { isLockstepError } from '../errors/lockstep-error.js';

const SCOPE = '@lockstep';

export interface SpanSettings {
  /** @default SpanKind.INTERNAL */
  readonly kind?: SpanKind;
  /** Other spans that it has to do with; asked for only where somebody records. @default none */
  readonly links?: () => readonly Link[];
}

/**
 * Runs `fn` in a span of its own; a rejection is recorded and passes through. Without an OpenTelemetry SDK this is a
 * plain call. Business keys may be span attributes, never metric attributes.
 */
export function withSpan<T>(
  name: string,
  attributes: Attributes,
  fn: (span: Span) => Promise<T>,
  { kind, links }: SpanSettings = {},
): Promise<T> {
  const options = kind === undefined ? { attributes } : { attributes, kind };
  return trace.getTracer(SCOPE).startActiveSpan(name, options, async (span) => {
    if (links && span.isRecording()) span.addLinks([...links()]);
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
