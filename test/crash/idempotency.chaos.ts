import { startPostgres } from '@lockstep/testing';
import { chaosOptions } from './chaos-options.js';
import { Bank } from './idempotency/bank.js';
import { playDuplicates } from './idempotency/duplicates.js';
import { playMatrix } from './idempotency/matrix.js';
import { type Arena, playRound, type RoundReport } from './idempotency/round.js';
import { startStore } from './idempotency/store-server.js';

/**
 * Idempotent requests under fire: see `idempotency/round.ts` for a round, `idempotency/matrix.ts` for the crash matrix,
 * `idempotency/duplicates.ts` for a storm of duplicates, `idempotency/history.ts` and `idempotency/leaks.ts` for what must
 * hold after them. `STORE=postgres` strikes the store in SQL instead of that in Redis.
 */
const options = chaosOptions(process.argv.slice(2), 4);
const SIZE = { workers: 3, customers: 100, stormMs: 12_000 };
const STORM = { keys: 100, duplicates: 100, kills: 3 };
const CONTROL = { keys: 20, duplicates: 20, kills: 0, ignoresClaims: true };
const storeName = process.env.STORE === 'postgres' ? 'postgres' : 'redis';
console.log(`chaos idempotency: ${options.seeds} rounds from seed ${options.seed}, store ${storeName}`);

const violations: string[] = [];
let kills = 0;
let schedules = 0;

function note(name: string, report: Pick<RoundReport, 'violations' | 'kills' | 'summary'>): void {
  kills += report.kills;
  schedules += 1;
  const found = report.violations.map((violation) => `${name}: ${violation}`);
  violations.push(...found);
  for (const violation of found) console.error(violation);
  console.log(`${name}: ${report.summary}; ${report.violations.length} violations`);
}

async function play(arena: Arena): Promise<void> {
  const { seed } = options;
  for (let round = 0; round < options.seeds; round += 1) {
    note(`seed ${seed + round}`, await playRound(arena, seed + round, SIZE));
  }
  note(`matrix, seed ${seed}`, await playMatrix(arena, seed));
  note(`duplicates, seed ${seed}`, await playDuplicates(arena, seed, STORM));
  const control = await playDuplicates(arena, seed, CONTROL);
  console.log(`control: ${control.summary}; ${control.violations.length} violations, as it must have`);
  // A checker that finds nothing where the guarantee is broken proves nothing where it is kept.
  if (control.violations.length === 0) note('control', { ...control, violations: ['it broke no promise'] });
}

const [postgres, store] = await Promise.all([startPostgres(), startStore(storeName)]);
const bankUrl = await postgres.createDatabase('bank');
const bank = new Bank(bankUrl);
try {
  await bank.create();
  await play({ store, bank, bankUrl });
} finally {
  await bank.close();
  await Promise.all([store.server.stop(), postgres.stop()]);
}

const result = { area: 'idempotency', schedules, kills, violations: violations.length, seed: options.seed };
console.log(options.json ? JSON.stringify(result) : `${kills} kills; ${violations.length} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;
