import { seed } from '@lockstep/testing';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { describe, expect, it } from 'vitest';
import { createRegisters } from './lock/ledger.js';
import { playRound } from './lock/round.js';

const SIZE = { workers: 4, stormMs: 3_000 };
const postgres = usePostgres();
const resource = useRedis();

describe('locks of processes that are stopped and killed, on a server and a network that fail', () => {
  it('are held by one at a time, and no change under a fence is lost; without one some are', async () => {
    const arena = { resourceUrl: resource.url, databaseUrl: postgres.url };
    await createRegisters(arena);
    const first = seed();
    const reports = [await playRound(arena, first, SIZE), await playRound(arena, first + 1, SIZE)];
    expect(reports.flatMap(({ violations }) => violations)).toEqual([]);
    expect(reports.reduce((sum, { controlLosses }) => sum + controlLosses, 0)).toBeGreaterThan(0);
  }, 120_000);
});
