import { chaosOptions } from './chaos-options.js';
import { SIGN_OF } from './messaging/breach.js';
import { playSeason } from './messaging/season.js';
import { BROKERS, chosen, DATABASES } from './messaging/server-choice.js';

/**
 * Messages under fire: see `messaging/season.ts` for how it goes, `messaging/ledger.ts` for what must hold after it.
 * `STORE` names the database of the outbox, `TRANSPORT` what carries the messages; see `messaging/server-choice.ts`.
 */
const options = chaosOptions(process.argv.slice(2), 5);
const place = {
  database: chosen(DATABASES, process.env.STORE ?? 'postgres'),
  broker: chosen(BROKERS, process.env.TRANSPORT ?? 'bullmq-redis'),
};
const SEASON = {
  size: { producer: 2, relay: 2, consumer: 2 },
  stormMs: 8_000,
  poisonEvery: 5,
  restEvery: 5,
  deathRate: 0.6,
};
const CONTROL = { ...SEASON, stormMs: 4_000, poisonEvery: 99, deathRate: 1 };
console.log(
  `chaos messaging: ${options.seeds} storms from seed ${options.seed}, ${place.database} and ${place.broker}`,
);

const seeds = Array.from({ length: options.seeds }, (_, index) => options.seed + index);
const season = await playSeason({ ...SEASON, ...place, seeds, onRest: (summary) => console.log(summary) });
const violations = [...season.violations];
console.log(`${season.summary}; ${season.violations.length} violations`);
for (const breach of ['no-inbox', 'deletes-first'] as const) {
  const { summary, violations: found } = await playSeason({ ...CONTROL, ...place, seeds: [options.seed], breach });
  console.log(`control ${breach}: ${summary}; ${found.length} violations, as it must have`);
  // A checker that finds nothing where the guarantee is broken proves nothing where it is kept.
  if (found.every((violation) => !SIGN_OF[breach].test(violation))) {
    violations.push(`control ${breach}: it broke no promise`);
  }
}
for (const violation of violations) console.error(violation);

const result = {
  area: 'messaging',
  schedules: options.seeds,
  kills: season.kills,
  violations: violations.length,
  seed: options.seed,
};
console.log(options.json ? JSON.stringify(result) : `${season.kills} kills; ${violations.length} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;
