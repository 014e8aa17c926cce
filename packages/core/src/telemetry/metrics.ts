import {
  type Attributes,
  type BatchObservableCallback,
  type Counter,
  type Histogram,
  type MeterProvider,
  metrics,
  type ObservableGauge,
} from '@opentelemetry/api';

const SCOPE = '@lockstep';

/** The boundaries that the semantic conventions advise for durations, and a minute and ten for what may wait. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 60, 600];
const ITEMS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

let provider: MeterProvider | undefined;
const counters = new Map<string, Counter>();
const histograms = new Map<string, Histogram>();
const observations = new Set<Observation>();

/** Adds to a counter; a no-op without an SDK. The attributes must be few and bounded: no keys, no ids. */
export function count(name: string, attributes: Attributes = {}, value = 1): void {
  const current = currentProvider();
  const counter = counters.get(name) ?? current.getMeter(SCOPE).createCounter(name);
  counters.set(name, counter);
  counter.add(value, attributes);
}

/** Notes one duration in a histogram; a no-op without an SDK. The attributes must be few and bounded, as in {@link count}. */
export function record(name: string, seconds: number, attributes: Attributes = {}): void {
  histogram(name, 's', SECONDS).record(seconds, attributes);
}

/** Notes how many there were in a histogram, like {@link record}. @param unit in braces, `{message}` */
export function recordSize(name: string, items: number, unit: string, attributes: Attributes = {}): void {
  histogram(name, unit, ITEMS).record(items, attributes);
}

/** Says what one of the gauges shows. */
export type Observe<Name extends string> = (name: Name, value: number, attributes?: Attributes) => void;

/**
 * Calls `read` whenever an SDK collects metrics, and never without one. `read` must not reject; a gauge that it says
 * nothing about shows nothing.
 *
 * @param gauges names with their units
 * @returns the function that ends it
 */
export function observeGauges<Name extends string>(
  gauges: Readonly<Record<Name, string>>,
  read: (observe: Observe<Name>) => Promise<void>,
): () => void {
  const observation = new Observation(gauges, (observe) => read(observe as Observe<Name>));
  observations.add(observation);
  observation.begin(currentProvider());
  return () => {
    observations.delete(observation);
    observation.end();
  };
}

class Observation {
  private readonly byName = new Map<string, ObservableGauge>();
  private remove: (() => void) | undefined;

  constructor(
    private readonly gauges: Readonly<Record<string, string>>,
    private readonly read: (observe: Observe<string>) => Promise<void>,
  ) {}

  /** Gauges belong to the provider that made them. */
  begin(provider: MeterProvider): void {
    this.end();
    const meter = provider.getMeter(SCOPE);
    for (const [name, unit] of Object.entries<string>(this.gauges)) {
      this.byName.set(name, meter.createObservableGauge(name, { unit }));
    }
    const observables = [...this.byName.values()];
    const callback: BatchObservableCallback = (result) =>
      this.read((name, value, attributes) => {
        const gauge = this.byName.get(name);
        if (gauge) result.observe(gauge, value, attributes);
      });
    meter.addBatchObservableCallback(callback, observables);
    this.remove = () => meter.removeBatchObservableCallback(callback, observables);
  }

  end(): void {
    this.remove?.();
    this.remove = undefined;
    this.byName.clear();
  }
}

function histogram(name: string, unit: string, explicitBucketBoundaries: number[]): Histogram {
  const current = currentProvider();
  const known = histograms.get(name);
  if (known) return known;
  const made = current.getMeter(SCOPE).createHistogram(name, { unit, advice: { explicitBucketBoundaries } });
  histograms.set(name, made);
  return made;
}

/** An instrument made before the SDK was registered would note nothing for ever, so they are made anew for each. */
function currentProvider(): MeterProvider {
  const current = metrics.getMeterProvider();
  if (current !== provider) {
    provider = current;
    counters.clear();
    histograms.clear();
    for (const observation of observations) observation.begin(current);
  }
  return current;
}
