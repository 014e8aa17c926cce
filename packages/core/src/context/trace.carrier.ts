import { context, propagation } from '@opentelemetry/api';
import type { CarriedHeaders, ContextCarrier } from './context-carrier.js';

/** Carries the trace in whatever headers the application's OpenTelemetry propagator writes; nothing without an SDK. */
export class TraceCarrier implements ContextCarrier {
  readonly name = 'trace';

  inject(headers: CarriedHeaders): void {
    propagation.inject(context.active(), headers);
  }

  run<T>(headers: Readonly<CarriedHeaders>, fn: () => T): T {
    return context.with(propagation.extract(context.active(), headers), fn);
  }
}
