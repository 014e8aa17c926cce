import { parseArgs } from 'node:util';
import type { Contestant } from './contestant.js';
import { waitUntilIdle } from './idle-gate.js';
import { humanTable } from './report.js';
import { runRounds } from './rounds.js';
import { type Row, toRow } from './row.js';

/** What a row compares. `ours` and `raw` do the same work; a peer that does less is left out or says so in its name. */
export interface RowPlan {
  readonly name: string;
  /** Of `ours`, `raw` and the peers; more is better, e.g. `ops/s`. */
  readonly unit: string;
  readonly ours: Contestant;
  readonly raw: Contestant;
  readonly peers?: readonly Contestant[];
  /** Run along without being compared, e.g. the same request with no guarantee; their medians are in `extra`. */
  readonly references?: readonly Contestant[];
  /** Counts commands at the server with one operation in flight. */
  commandsPerOp?(): Promise<number>;
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
      say(`${area.name}/${plan.name}: ${rounds} rounds of ${sliceMs} ms each …`);
      rows.push(await measure(plan, rounds, sliceMs));
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

async function measure(plan: RowPlan, rounds: number, sliceMs: number): Promise<Row> {
  const { name, unit, ours, raw, peers = [], references = [] } = plan;
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
    ours: of(ours),
    raw: of(raw),
    peers: byName(peers),
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
