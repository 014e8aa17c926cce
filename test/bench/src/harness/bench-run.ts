import { parseArgs } from 'node:util';
import type { Contestant } from './contestant.js';
import { waitUntilIdle } from './idle-gate.js';
import { humanTable } from './report.js';
import { runRounds } from './rounds.js';
import { type Measure, type Row, rounded, toRow } from './row.js';

export type RowPlan = ContestPlan | CountPlan;

/** What a row compares. `ours` and `raw` do the same work; a peer that does less is left out or says so in its name. */
export interface ContestPlan {
  readonly name: string;
  /** Of `ours`, `raw` and the peers; more is better, e.g. `ops/s`, unless the measure is `p50`. */
  readonly unit: string;
  /** With `p50`, in milliseconds, the contestants report latencies. @default 'rate' */
  readonly measure?: Measure;
  readonly ours: Contestant;
  readonly raw: Contestant;
  readonly peers?: readonly Contestant[];
  /** Run along without being compared, e.g. the same request with no guarantee; their medians are in `extra`. */
  readonly references?: readonly Contestant[];
  /** How many times as long as those of other rows its slices are, for operations that take their time. */
  readonly sliceFactor?: number;
  /** Counts commands at the server, with one operation in flight where the row does not say otherwise. */
  commandsPerOp?(): Promise<number>;
}

/** A row that compares nothing: what was counted must not exceed a bound. */
export interface CountPlan {
  readonly name: string;
  /** Of what is counted, e.g. `commands in 10 s`; less is better. */
  readonly unit: string;
  count(): Promise<number>;
}

export interface BenchArea {
  readonly name: string;
  /** @default 400 */
  readonly sliceMs?: number;
  /** Starts what all rows need and returns the rows with what closes it. */
  open(): Promise<{ readonly rows: readonly RowPlan[]; close(): Promise<void> }>;
}

/** The main function of a bench program: `[--rounds N] [--slice MS] [--only ROW] [--json]`. */
export async function runBench(area: BenchArea): Promise<void> {
  const { rounds, sliceMs, only, json } = benchArguments(process.argv.slice(2), area.sliceMs ?? 400);
  // With --json the standard output holds the result and nothing else.
  const say = json ? console.error : console.log;
  const opened = await area.open();
  const rows: Row[] = [];
  try {
    for (const plan of opened.rows.filter((row) => only === undefined || row.name === only)) {
      rows.push('count' in plan ? await countRow(plan) : await measure(plan, rounds, sliceMs, say));
    }
  } finally {
    await opened.close();
  }
  say(humanTable(rows));
  if (json) console.log(JSON.stringify({ area: area.name, rows }));
}

export function benchArguments(
  args: readonly string[],
  defaultSliceMs: number,
): { rounds: number; sliceMs: number; only: string | undefined; json: boolean } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '11' },
      slice: { type: 'string', default: String(defaultSliceMs) },
      only: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  return {
    rounds: naturalNumber('--rounds', values.rounds),
    sliceMs: naturalNumber('--slice', values.slice),
    only: values.only,
    json: values.json,
  };
}

async function countRow({ name, unit, count }: CountPlan): Promise<Row> {
  return { name, unit, ours: rounded(await count()), peers: {}, extra: {} };
}

async function measure(plan: ContestPlan, rounds: number, baseMs: number, say: (line: string) => void): Promise<Row> {
  const { name, unit, ours, raw, peers = [], references = [], sliceFactor = 1 } = plan;
  const sliceMs = baseMs * sliceFactor;
  say(`${name}: ${rounds} rounds of ${sliceMs} ms for each contestant …`);
  const commandsPerOp = await plan.commandsPerOp?.();
  const done = await runRounds([ours, raw, ...peers, ...references], {
    rounds,
    sliceMs,
    gate: () => waitUntilIdle(),
    random: Math.random,
  });
  const of = (contestant: Contestant) => done.get(contestant.name) ?? { slices: [], failure: 'did not take part' };
  const byName = (some: readonly Contestant[]) => new Map(some.map((contestant) => [contestant.name, of(contestant)]));
  return toRow({
    name,
    unit,
    measure: plan.measure,
    ours: of(ours),
    raw: of(raw),
    peers: byName(peers),
    groups: new Map(peers.map((peer) => [peer.name, peer.group])),
    references: byName(references),
    commandsPerOp,
  });
}

function naturalNumber(option: string, value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new Error(`${option} takes a whole number from 1, got ${value}`);
  return number;
}
