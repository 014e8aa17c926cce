import type { Slice } from './contestant.js';
import type { Performance } from './rounds.js';
import { median, medianLowEnd, pairedRatios, quantile } from './statistics.js';

/**
 * One line of a result. Every ratio is a median over paired rounds; above 1 means that ours is better. A row that
 * compares nothing has no `raw` and no ratio.
 */
export interface Row {
  readonly name: string;
  readonly unit: string;
  /** Medians over the rounds, in `unit`. */
  readonly ours: number;
  readonly raw?: number;
  readonly ratioToRaw?: number;
  /** Lower end of the 95 % interval of `ratioToRaw`. */
  readonly ratioToRawLow?: number;
  /** Medians in `unit`; for a peer that could not take part, why. */
  readonly peers: Readonly<Record<string, number | string>>;
  /** The lowest ratio of ours to a peer: the best peer is the one that leaves us the least. */
  readonly ratioToBestPeer?: number | undefined;
  readonly commandsPerOp?: number | undefined;
  readonly extra: Readonly<Record<string, number>>;
}

/** What a row compares: how much was done in the time, or how long the middle one of all operations took. */
export type Measure = 'rate' | 'p50';

export interface RowInput {
  readonly name: string;
  readonly unit: string;
  /** @default 'rate' */
  readonly measure?: Measure | undefined;
  readonly ours: Performance;
  readonly raw: Performance;
  readonly peers: ReadonlyMap<string, Performance>;
  /** The group of each peer that has one. */
  readonly groups?: ReadonlyMap<string, string | undefined>;
  readonly references?: ReadonlyMap<string, Performance>;
  readonly commandsPerOp: number | undefined;
}

/** @throws Error when ours or raw failed: without them there is no row */
export function toRow(input: RowInput): Row {
  const { name, unit, ours, raw, peers, references = new Map<string, Performance>(), commandsPerOp } = input;
  const { measure = 'rate' } = input;
  const ourRates = ratesOf(`${name}: ours`, ours, measure);
  const rawRates = ratesOf(`${name}: raw`, raw, measure);
  const toRaw = pairedRatios(ourRates, rawRates);
  const finished = [...peers].filter(([, peer]) => peer.failure === undefined);
  const toPeers = finished.map(([peer, done]): PeerRatio => {
    return { peer, ratio: median(pairedRatios(ourRates, ratesOf(`${name}: ${peer}`, done, measure))) };
  });
  return {
    name,
    unit,
    ours: shown(ourRates, measure),
    raw: shown(rawRates, measure),
    ratioToRaw: rounded(median(toRaw)),
    ratioToRawLow: rounded(medianLowEnd(toRaw)),
    peers: Object.fromEntries([...peers].map(([peer, done]) => [peer, peerCell(`${name}: ${peer}`, done, measure)])),
    ratioToBestPeer: lowest(toPeers),
    commandsPerOp: commandsPerOp === undefined ? undefined : rounded(commandsPerOp),
    extra: {
      ...latenciesOf(ours.slices, raw.slices),
      ...fairnessOf(ours.slices, raw.slices),
      ...sumsOf(ours.slices),
      ...groupRatios(toPeers, input.groups),
      ...mediansOf(name, references, measure),
    },
  };
}

interface PeerRatio {
  readonly peer: string;
  readonly ratio: number;
}

function lowest(ratios: readonly PeerRatio[]): number | undefined {
  return ratios.length === 0 ? undefined : rounded(Math.min(...ratios.map(({ ratio }) => ratio)));
}

function groupRatios(
  ratios: readonly PeerRatio[],
  groups: RowInput['groups'] = new Map<string, undefined>(),
): Record<string, number> {
  const extra: Record<string, number> = {};
  for (const group of new Set(groups.values())) {
    const ratio = lowest(ratios.filter(({ peer }) => groups.get(peer) === group));
    if (group !== undefined && ratio !== undefined) extra[`ratioToBest${group}Peer`] = ratio;
  }
  return extra;
}

/** More is better in either case: a duration counts as how often it fits into a second. */
function ratesOf(what: string, { slices, failure }: Performance, measure: Measure): number[] {
  if (failure !== undefined) throw new Error(`${what} failed: ${failure}`);
  return slices.map(({ operations, elapsedMs, latenciesMs = [] }) =>
    measure === 'rate' ? (operations * 1000) / elapsedMs : 1000 / quantile(latenciesMs, 0.5),
  );
}

/** In the unit of the row. */
function shown(rates: readonly number[], measure: Measure): number {
  return rounded(measure === 'rate' ? median(rates) : 1000 / median(rates));
}

function peerCell(what: string, peer: Performance, measure: Measure): number | string {
  return peer.failure === undefined ? shown(ratesOf(what, peer, measure), measure) : `failed: ${peer.failure}`;
}

function mediansOf(
  row: string,
  references: ReadonlyMap<string, Performance>,
  measure: Measure,
): Record<string, number> {
  return Object.fromEntries(
    [...references].map(([name, done]) => [name, shown(ratesOf(`${row}: ${name}`, done, measure), measure)]),
  );
}

function latenciesOf(ours: readonly Slice[], raw: readonly Slice[]): Record<string, number> {
  const [latencies, rawLatencies] = [ours, raw].map((slices) => slices.flatMap(({ latenciesMs = [] }) => latenciesMs));
  if (!latencies?.length) return {};
  const p99 = quantile(latencies, 0.99);
  const extra = { p50: rounded(quantile(latencies, 0.5)), p99: rounded(p99) };
  if (!rawLatencies?.length) return extra;
  const p99Raw = quantile(rawLatencies, 0.99);
  return { ...extra, p99Raw: rounded(p99Raw), p99Ratio: rounded(p99 / p99Raw) };
}

function fairnessOf(ours: readonly Slice[], raw: readonly Slice[]): Record<string, number> {
  const fairness = evenness(ours);
  const fairnessRaw = evenness(raw);
  return {
    ...(fairness === undefined ? {} : { fairness: rounded(fairness) }),
    ...(fairnessRaw === undefined ? {} : { fairnessRaw: rounded(fairnessRaw) }),
  };
}

/** What the luckiest client got, divided by what the unluckiest got; one that got nothing counts as if it had got one. */
function evenness(slices: readonly Slice[]): number | undefined {
  const totals: number[] = [];
  for (const { shares = [] } of slices) {
    for (const [client, share] of shares.entries()) totals[client] = (totals[client] ?? 0) + share;
  }
  return totals.length === 0 ? undefined : Math.max(...totals) / Math.max(Math.min(...totals), 1);
}

function sumsOf(slices: readonly Slice[]): Record<string, number> {
  const extra: Record<string, number> = {};
  const operations = slices.reduce((sum, slice) => sum + slice.operations, 0);
  for (const key of new Set(slices.flatMap(({ sums = {} }) => Object.keys(sums)))) {
    const sum = slices.reduce((total, slice) => total + (slice.sums?.[key] ?? 0), 0);
    extra[key] = rounded(sum / operations);
  }
  return extra;
}

/** Three significant places below 100, whole numbers above: more would be noise. */
export function rounded(value: number): number {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
