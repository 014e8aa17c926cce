import { startPostgres, startRedis } from '@lockstep/testing';
import { chaosOptions } from './chaos-options.js';
import { createRegisters } from './lock/ledger.js';
import { playRound } from './lock/round.js';

/** Locks under fire: see `lock/round.ts` for a round, `lock/history.ts` and `lock/ledger.ts` for what must hold after it. */
const options = chaosOptions(process.argv.slice(2), 10);
const SIZE = { workers: 6, stormMs: 8_000 };
console.log(`chaos lock: ${options.seeds} rounds from seed ${options.seed}`);

const [postgres, resource] = await Promise.all([startPostgres(), startRedis()]);
const violations: string[] = [];
let kills = 0;
let controlLosses = 0;
try {
  const arena = { resourceUrl: resource.url, databaseUrl: await postgres.createDatabase('chaos') };
  await createRegisters(arena);
  for (let round = 0; round < options.seeds; round += 1) {
    const seed = options.seed + round;
    const report = await playRound(arena, seed, SIZE);
    kills += report.kills;
    controlLosses += report.controlLosses;
    violations.push(...report.violations.map((violation) => `seed ${seed}: ${violation}`));
    console.log(`seed ${seed}: ${report.summary}; ${report.violations.length} violations`);
  }
} finally {
  await Promise.all([resource.stop(), postgres.stop()]);
}

// Faults that harm nobody prove nothing about those who survive them.
if (controlLosses === 0) violations.push('the register without a fence lost nothing: the faults struck too softly');
for (const violation of violations) console.error(violation);
const result = {
  area: 'lock',
  schedules: options.seeds,
  kills,
  violations: violations.length,
  seed: options.seed,
};
const human = `${kills} kills; without fences ${controlLosses} changes were lost; ${violations.length} violations`;
console.log(options.json ? JSON.stringify(result) : human);
process.exitCode = violations.length === 0 ? 0 : 1;
