import { eventually, seededRandom, startPostgres, startRedis } from '@lockstep/testing';
import { chaosOptions } from './chaos-options.js';
import { FATAL_CHECKPOINTS, Fleet } from './order/fleet.js';
import { playRound, withDatabase } from './order/round.js';

/** The mall under fire: see `order/round.ts` for a round and `order/ledger.ts` for what must hold after it. */
const options = chaosOptions(process.argv.slice(2), 5);
const random = seededRandom(options.seed);
console.log(`chaos order: ${options.seeds} rounds from seed ${options.seed}`);

const [postgres, redis] = await Promise.all([
  startPostgres(),
  startRedis({ appendonly: 'everysec', args: ['--maxmemory-policy', 'noeviction'] }),
]);
const databaseUrl = await postgres.createDatabase('mall');
const fleet = new Fleet(
  {
    DATABASE_URL: databaseUrl,
    REDIS_URL: redis.url,
    MALL_SECRET: 'a secret of the chaos run alone',
    MALL_WAREHOUSE_TOKEN: 'unused',
    MALL_OPERATOR_TOKEN: 'unused',
  },
  (role) => (random.next() < 0.4 ? random.pick(FATAL_CHECKPOINTS[role]) : undefined),
);

const violations: string[] = [];
try {
  fleet.start();
  await eventually(() => tablesExist(), { timeoutMs: 60_000, intervalMs: 250 });
  // The mall's own last guard would hide a message that takes effect twice: here the inbox stands alone.
  await withDatabase(databaseUrl, (database) =>
    database.query('ALTER TABLE mall_points_entry DROP CONSTRAINT mall_points_entry_pkey'),
  );
  for (let round = 0; round < options.seeds; round += 1) {
    const seed = options.seed + round;
    for (const problem of await playRound({ fleet, redis, postgres, databaseUrl }, seed)) {
      violations.push(`seed ${seed}: ${problem}`);
    }
  }
} finally {
  await fleet.stop();
  await Promise.all([redis.stop(), postgres.stop()]);
}

violations.push(...fleet.faults);
for (const violation of violations) console.error(violation);
console.log(`died at ${[...fleet.fatalSteps].map(([step, times]) => `${step} × ${times}`).join(', ')}`);
const result = {
  area: 'order',
  schedules: options.seeds,
  kills: fleet.kills,
  violations: violations.length,
  seed: options.seed,
};
const kills = `${result.kills} kills, at random and at the steps above together`;
console.log(options.json ? JSON.stringify(result) : `${kills}; ${result.violations} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;

/** The first process that is asked for anything makes the tables. */
async function tablesExist(): Promise<void> {
  const [url] = fleet.urls;
  const response = await fetch(`${url}/health`);
  if (!response.ok) throw new Error(`the mall answers ${response.status}`);
  await withDatabase(databaseUrl, (database) => database.query('SELECT FROM mall_order LIMIT 1'));
}
