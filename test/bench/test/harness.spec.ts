import { describe, expect, test } from 'vitest';
import { benchArguments } from '../src/harness/bench-run.js';
import { type Contestant, closedLoop } from '../src/harness/contestant.js';
import { waitUntilIdle } from '../src/harness/idle-gate.js';
import { humanTable } from '../src/harness/report.js';
import { type Performance, runRounds } from '../src/harness/rounds.js';
import { toRow } from '../src/harness/row.js';
import { median, medianLowEnd, pairedRatios, quantile } from '../src/harness/statistics.js';

const oneTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

describe('statistics', () => {
  test('the median is the middle value, or the mean of the two middle ones, in whatever order they come', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([10, 1, 9, 2])).toBe(5.5);
  });

  test('a quantile lies between the two closest ranks', () => {
    expect(quantile(oneTo(101), 0.99)).toBe(100);
    expect(quantile([0, 10], 0.25)).toBe(2.5);
  });

  // Ranks of the sign test's 95 % interval, as printed in statistics tables.
  test.each([
    [6, 1],
    [8, 1],
    [9, 2],
    [11, 2],
    [12, 3],
    [15, 4],
    [20, 6],
    [25, 8],
    [30, 10],
  ])('with %i rounds the low end of the median is the value of rank %i', (n, rank) => {
    expect(medianLowEnd(oneTo(n).reverse())).toBe(rank);
  });

  test('with fewer than six rounds the low end is the smallest value', () => {
    expect(medianLowEnd([3, 1, 2])).toBe(1);
  });

  test('the interval covers the true median about 95 times in 100 and never claims more precision than that', () => {
    let state = 42;
    const random = () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
    const trials = 4000;
    let tooHigh = 0;
    for (let i = 0; i < trials; i += 1) {
      if (medianLowEnd(oneTo(11).map(random)) > 0.5) tooHigh += 1;
    }
    expect(tooHigh / trials).toBeLessThan(0.025);
  });

  test('ratios are taken within a round, so a slow round disturbs nothing', () => {
    expect(pairedRatios([200, 20], [100, 10])).toEqual([2, 2]);
    expect(() => pairedRatios([1], [1, 2])).toThrow('Unpaired rounds: 1 against 2');
  });
});

describe('rounds', () => {
  const options = { rounds: 6, sliceMs: 1, gate: async () => undefined };

  function contestant(name: string, log: string[], failAt = Number.POSITIVE_INFINITY): Contestant {
    return {
      name,
      open: async () => {
        let slices = 0;
        return {
          run: async () => {
            slices += 1;
            if (slices >= failAt) throw new Error(`${name} broke`);
            log.push(name);
            return { operations: 1, elapsedMs: 1 };
          },
          close: async () => {
            log.push(`${name} closed`);
          },
        };
      },
    };
  }

  test('every contestant runs once a round, in an order that changes, after one slice that does not count', async () => {
    const log: string[] = [];
    let draws = 0;
    const random = () => (draws++ % 4 < 2 ? 0 : 0.99);
    const done = await runRounds([contestant('a', log), contestant('b', log)], { ...options, random });
    const [warmUp, rounds] = [log.slice(0, 2), log.slice(2, 14)];
    expect(warmUp).toEqual(['a', 'b']);
    const orders = Array.from({ length: 6 }, (_, round) => rounds.slice(2 * round, 2 * round + 2).join(''));
    expect(new Set(orders)).toEqual(new Set(['ab', 'ba']));
    expect(done.get('a')?.slices).toHaveLength(6);
  });

  test('a contestant that breaks leaves with its reason, is closed, and the others finish', async () => {
    const log: string[] = [];
    const done = await runRounds([contestant('a', log), contestant('b', log, 3)], { ...options, random: () => 0 });
    expect(done.get('b')).toMatchObject({ failure: 'b broke', slices: { length: 1 } });
    expect(done.get('a')?.slices).toHaveLength(6);
    expect(log.filter((line) => line.endsWith('closed'))).toEqual(['a closed', 'b closed']);
  });

  test('the gate runs before each measured slice', async () => {
    let gates = 0;
    const gate = async () => {
      gates += 1;
    };
    await runRounds([contestant('a', []), contestant('b', [])], { ...options, gate, random: () => 0 });
    expect(gates).toBe(12);
  });
});

describe('a closed loop', () => {
  test('keeps exactly so many operations in flight and counts each', async () => {
    let inFlight = 0;
    let most = 0;
    let calls = 0;
    const slice = await closedLoop(4, 20, async () => {
      calls += 1;
      inFlight += 1;
      most = Math.max(most, inFlight);
      await new Promise((resolve) => setImmediate(resolve));
      inFlight -= 1;
    });
    expect(most).toBe(4);
    expect(inFlight).toBe(0);
    expect(slice.operations).toBe(calls);
    expect(slice.elapsedMs).toBeGreaterThanOrEqual(20);
  });
});

describe('the idle gate', () => {
  test('opens as soon as the machine is idle enough', async () => {
    const samples = [
      { idle: 0, total: 0 },
      { idle: 10, total: 100 },
      { idle: 90, total: 200 },
    ];
    const read = () => samples.shift() ?? { idle: 0, total: 0 };
    await expect(waitUntilIdle({ read, sampleMs: 1 })).resolves.toBe(true);
    expect(samples).toEqual([]);
  });

  test('gives up on a machine that stays busy', async () => {
    let total = 0;
    const read = () => {
      total += 100;
      return { idle: 0, total };
    };
    await expect(waitUntilIdle({ read, sampleMs: 1, timeoutMs: 20 })).resolves.toBe(false);
  });
});

describe('a row', () => {
  const rates = (...perSecond: number[]): Performance => ({
    slices: perSecond.map((operations) => ({
      operations,
      elapsedMs: 1000,
      latenciesMs: [1, 2, 3],
      sums: { walBytes: operations * 300 },
    })),
    failure: undefined,
  });
  const row = toRow({
    name: 'r',
    unit: 'ops/s',
    ours: rates(100, 200, 300, 400, 500, 600),
    raw: rates(100, 100, 100, 200, 250, 300),
    groups: new Map([
      ['slow', 'Pedestrian'],
      ['fast', undefined],
    ]),
    peers: new Map<string, Performance>([
      ['slow', rates(50, 100, 150, 200, 250, 300)],
      ['fast', rates(80, 160, 240, 320, 400, 480)],
      ['broken', { slices: [], failure: 'needs Node 22' }],
    ]),
    references: new Map([['noGuarantee', rates(1000, 1000, 1000, 1000, 1000, 1000)]]),
    commandsPerOp: 2,
  });

  test('takes ratios per round, above 1 when ours is better', () => {
    expect(row).toMatchObject({ ours: 350, raw: 150, ratioToRaw: 2, ratioToRawLow: 1 });
  });

  test('compares with the peer that leaves us the least and says why a peer is missing', () => {
    expect(row.ratioToBestPeer).toBe(1.25);
    expect(row.peers).toEqual({ slow: 175, fast: 280, broken: 'failed: needs Node 22' });
  });

  test('carries percentiles, sums per operation, references and the peers of a group under their names', () => {
    expect(row.extra).toEqual({
      p50: 2,
      p99: 3,
      p99Raw: 3,
      p99Ratio: 1,
      walBytes: 300,
      ratioToBestPedestrianPeer: 2,
      noGuarantee: 1000,
    });
  });

  test('says how evenly the operations of all rounds were shared out', () => {
    const shared = (...shares: number[][]): Performance => ({
      slices: shares.map((slice) => ({ operations: 10, elapsedMs: 1000, shares: slice })),
      failure: undefined,
    });
    const shares = { ours: shared([8, 2], [4, 6]), raw: shared([10, 0], [10, 0]) };
    const { extra } = toRow({ name: 'r', unit: 'ops/s', peers: new Map(), commandsPerOp: undefined, ...shares });
    expect(extra).toEqual({ fairness: 1.5, fairnessRaw: 20 });
  });

  test('compares the middle durations where it measures them, and a shorter one is better', () => {
    const taking = (...latenciesMs: number[]): Performance => ({
      slices: [{ operations: latenciesMs.length, elapsedMs: 1000, latenciesMs }],
      failure: undefined,
    });
    const input = { name: 'r', unit: 'ms', measure: 'p50', commandsPerOp: undefined } as const;
    const peers = new Map([['slow', taking(90, 100, 400)]]);
    const timed = toRow({ ...input, ours: taking(4, 5, 30), raw: taking(9, 10, 11), peers });
    expect(timed).toMatchObject({ ours: 5, raw: 10, ratioToRaw: 2, peers: { slow: 100 }, ratioToBestPeer: 20 });
  });

  test('does not exist when ours failed', () => {
    const failed = { slices: [], failure: 'no Redis' };
    const input = { name: 'r', unit: 'u', ours: failed, raw: rates(1), peers: new Map(), commandsPerOp: undefined };
    expect(() => toRow(input)).toThrow('r: ours failed: no Redis');
  });

  test('that only counts is printed without ratios', () => {
    const counted = { name: 'idle', unit: 'commands', ours: 0, peers: {}, extra: {} };
    expect(humanTable([counted])).toMatch(/^idle +commands +0 +– +– +– +–/m);
  });

  test('prints for people too', () => {
    expect(humanTable([row])).toContain('r peers: slow 175, fast 280, broken failed: needs Node 22');
  });
});

test('the arguments of a bench program are checked by name', () => {
  expect(benchArguments(['--rounds', '3', '--json'], 500)).toEqual({
    rounds: 3,
    sliceMs: 500,
    only: undefined,
    json: true,
  });
  expect(() => benchArguments(['--rounds', '0'], 500)).toThrow('--rounds takes a whole number from 1, got 0');
});
