import { chaosOptions } from './chaos-options.js';
import { type StoreName, startStore } from './fleet/store-server.js';
import { leftKeys, leftRows } from './session/leaks.js';
import { playRound, type RoundReport } from './session/round.js';

/**
 * Sessions under fire: see `session/round.ts` for a round, `session/visit.ts` for what must hold after it.
 * `STORE=postgres` strikes the store in SQL instead of that in Redis.
 */
const options = chaosOptions(process.argv.slice(2), 4);
const SIZE = { workers: 3, users: 15, stormMs: 12_000 };
const CONTROL = { workers: 2, users: 10, stormMs: 4_000, resurrects: true };
const storeName: StoreName = process.env.STORE === 'postgres' ? 'postgres' : 'redis';
console.log(`chaos session: ${options.seeds} rounds from seed ${options.seed}, store ${storeName}`);

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

const store = await startStore(storeName, { keys: leftKeys, rows: leftRows });
try {
  for (let round = 0; round < options.seeds; round += 1) {
    note(`seed ${options.seed + round}`, await playRound(store, options.seed + round, SIZE));
  }
  const control = await playRound(store, options.seed, CONTROL);
  console.log(`control: ${control.summary}; ${control.violations.length} violations, as it must have`);
  // A checker that finds nothing where the guarantee is broken proves nothing where it is kept.
  if (control.violations.length === 0) note('control', { ...control, violations: ['it broke no promise'] });
} finally {
  await store.server.stop();
}

const result = { area: 'session', schedules, kills, violations: violations.length, seed: options.seed };
console.log(options.json ? JSON.stringify(result) : `${kills} kills; ${violations.length} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;
