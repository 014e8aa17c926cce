import { createRequire } from 'node:module';
import { context, propagation, type TextMapPropagator, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';

interface OpenTelemetryCore {
  readonly W3CTraceContextPropagator: new () => TextMapPropagator;
}

/** An SDK as an application registers it, with what it recorded. */
export class Tracing {
  private readonly exporter = new InMemorySpanExporter();

  /** All spans that have ended. */
  get spans(): readonly ReadableSpan[] {
    return this.exporter.getFinishedSpans();
  }

  named(name: string): readonly ReadableSpan[] {
    return this.spans.filter((span) => span.name.startsWith(name));
  }

  register(): void {
    // The propagator that the SDK itself brings along.
    const sdk = createRequire(createRequire(import.meta.url).resolve('@opentelemetry/sdk-trace-base'));
    const { W3CTraceContextPropagator } = sdk('@opentelemetry/core') as OpenTelemetryCore;
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    trace.setGlobalTracerProvider(
      new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(this.exporter)] }),
    );
  }

  unregister(): void {
    trace.disable();
    propagation.disable();
    context.disable();
  }
}
