import { startPostgres, startRedis } from '@lockstep/testing';
import { chaosOptions } from './chaos-options.js';
import { Bank } from './idempotency/bank.js';
import { playDuplicates } from './idempotency/duplicates.js';
import { playRound, type RoundReport } from './idempotency/round.js';

/**
 * Idempotent requests under fire: see `idempotency/round.ts` for a round, `idempotency/duplicates.ts` for a storm of
 * duplicates, `idempotency/history.ts` and `idempotency/leaks.ts` for what must hold after them.
 */
const options = chaosOptions(process.argv.slice(2), 4);
const SIZE = { workers: 3, customers: 100, stormMs: 12_000 };
const STORM = { keys: 100, duplicates: 100, kills: 3 };
const CONTROL = { keys: 20, duplicates: 20, kills: 0, ignoresClaims: true };
console.log(`chaos idempotency: ${options.seeds} rounds from seed ${options.seed}`);

const violations: string[] = [];
let kills = 0;
let schedules = 0;

function note(name: string, report: RoundReport): void {
  kills += report.kills;
  schedules += 1;
  const found = report.violations.map((violation) => `${name}: ${violation}`);
  violations.push(...found);
  for (const violation of found) console.error(violation);
  console.log(`${name}: ${report.summary}; ${report.violations.length} violations`);
}

const [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
try {
  const bankUrl = await postgres.createDatabase('bank');
  const bank = new Bank(bankUrl);
  await bank.create();
  await bank.close();
  for (let round = 0; round < options.seeds; round += 1) {
    const seed = options.seed + round;
    note(`seed ${seed}`, await playRound(bankUrl, seed, SIZE));
  }
  const { seed } = options;
  note(`duplicates, seed ${seed}`, await playDuplicates({ bankUrl, server: redis, seed, ...STORM }));
  const control = await playDuplicates({ bankUrl, server: redis, seed, ...CONTROL });
  console.log(`control: ${control.summary}; ${control.violations.length} violations, as it must have`);
  // A checker that finds nothing where the guarantee is broken proves nothing where it is kept.
  if (control.violations.length === 0)
    note('control', { violations: ['it broke no promise'], kills: 0, summary: control.summary });
} finally {
  await Promise.all([redis.stop(), postgres.stop()]);
}

const result = { area: 'idempotency', schedules, kills, violations: violations.length, seed: options.seed };
console.log(options.json ? JSON.stringify(result) : `${kills} kills; ${violations.length} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;
