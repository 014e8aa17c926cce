import { seed } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';
import { SIGN_OF } from './messaging/breach.js';
import { playSeason, type SeasonPlan } from './messaging/season.js';

const SEASON: SeasonPlan = {
  seeds: [seed()],
  size: { producer: 1, relay: 1, consumer: 2 },
  stormMs: 5_000,
  database: 'postgres',
  broker: 'bullmq-redis',
  poisonEvery: 99,
  restEvery: 1,
  deathRate: 0.7,
};

describe('messages between processes that are killed and stopped, over servers that restart and a network that fails', () => {
  it('have each committed one take effect once at each consumer, and none that was rolled back', async () => {
    const report = await playSeason(SEASON);
    expect(report.violations).toEqual([]);
    expect(report.kills).toBeGreaterThan(0);
  }, 300_000);

  it.each(['no-inbox', 'deletes-first'] as const)(
    'are doubled or lost where a guarantee is broken (%s), so that the ledger is seen to find it',
    async (breach) => {
      const size = { producer: 1, relay: 1, consumer: 1 };
      const { violations } = await playSeason({ ...SEASON, size, stormMs: 3_000, deathRate: 1, breach });
      expect(violations.filter((violation) => SIGN_OF[breach].test(violation))).not.toEqual([]);
    },
    120_000,
  );
});
