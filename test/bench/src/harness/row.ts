import type { Slice } from './contestant.js';
import type { Performance } from './rounds.js';
import { median, medianLowEnd, pairedRatios, quantile } from './statistics.js';

/** One line of a result. Every ratio is a median over paired rounds; above 1 means that ours is better. */
export interface Row {
  readonly name: string;
  readonly unit: string;
  /** Medians over the rounds, in `unit`. */
  readonly ours: number;
  readonly raw: number;
  readonly ratioToRaw: number;
  /** Lower end of the 95 % interval of `ratioToRaw`. */
  readonly ratioToRawLow: number;
  /** Medians in `unit`; for a peer that could not take part, why. */
  readonly peers: Readonly<Record<string, number | string>>;
  /** The lowest ratio of ours to a peer: the best peer is the one that leaves us the least. */
  readonly ratioToBestPeer: number | undefined;
  readonly commandsPerOp: number | undefined;
  readonly extra: Readonly<Record<string, number>>;
}

export interface RowInput {
  readonly name: string;
  readonly unit: string;
  readonly ours: Performance;
  readonly raw: Performance;
  readonly peers: ReadonlyMap<string, Performance>;
  readonly references?: ReadonlyMap<string, Performance>;
  readonly commandsPerOp: number | undefined;
}

/** @throws Error when ours or raw failed: without them there is no row */
export function toRow(input: RowInput): Row {
  const { name, unit, ours, raw, peers, references = new Map<string, Performance>(), commandsPerOp } = input;
  const ourRates = ratesOf(`${name}: ours`, ours);
  const rawRates = ratesOf(`${name}: raw`, raw);
  const toRaw = pairedRatios(ourRates, rawRates);
  const finished = [...peers].filter(([, peer]) => peer.failure === undefined);
  const toPeers = finished.map(([peer, done]) => median(pairedRatios(ourRates, ratesOf(`${name}: ${peer}`, done))));
  return {
    name,
    unit,
    ours: rounded(median(ourRates)),
    raw: rounded(median(rawRates)),
    ratioToRaw: rounded(median(toRaw)),
    ratioToRawLow: rounded(medianLowEnd(toRaw)),
    peers: Object.fromEntries([...peers].map(([peer, done]) => [peer, peerCell(`${name}: ${peer}`, done)])),
    ratioToBestPeer: toPeers.length === 0 ? undefined : rounded(Math.min(...toPeers)),
    commandsPerOp,
    extra: { ...extraOf(ours.slices), ...mediansOf(name, references) },
  };
}

function ratesOf(what: string, { slices, failure }: Performance): number[] {
  if (failure !== undefined) throw new Error(`${what} failed: ${failure}`);
  return slices.map(({ operations, elapsedMs }) => (operations * 1000) / elapsedMs);
}

function peerCell(what: string, peer: Performance): number | string {
  return peer.failure === undefined ? rounded(median(ratesOf(what, peer))) : `failed: ${peer.failure}`;
}

function mediansOf(row: string, references: ReadonlyMap<string, Performance>): Record<string, number> {
  return Object.fromEntries(
    [...references].map(([name, done]) => [name, rounded(median(ratesOf(`${row}: ${name}`, done)))]),
  );
}

function extraOf(slices: readonly Slice[]): Record<string, number> {
  const extra: Record<string, number> = {};
  const latencies = slices.flatMap(({ latenciesMs = [] }) => latenciesMs);
  if (latencies.length > 0) {
    extra.p50 = rounded(quantile(latencies, 0.5));
    extra.p99 = rounded(quantile(latencies, 0.99));
  }
  const operations = slices.reduce((sum, slice) => sum + slice.operations, 0);
  for (const key of new Set(slices.flatMap(({ sums = {} }) => Object.keys(sums)))) {
    const sum = slices.reduce((total, slice) => total + (slice.sums?.[key] ?? 0), 0);
    extra[key] = rounded(sum / operations);
  }
  return extra;
}

/** Three significant places below 100, whole numbers above: more would be noise. */
function rounded(value: number): number {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
