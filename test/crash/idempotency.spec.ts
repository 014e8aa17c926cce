import { seed } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Bank } from './idempotency/bank.js';
import { playDuplicates } from './idempotency/duplicates.js';
import { type Arena, playRound } from './idempotency/round.js';
import { type OperationStore, startStore } from './idempotency/store-server.js';

const postgres = usePostgres();
let store: OperationStore;
let arena: Arena;
beforeAll(async () => {
  store = await startStore('redis');
  const bank = new Bank(postgres.url);
  await bank.create();
  arena = { store, bank, bankUrl: postgres.url };
});
afterAll(async () => {
  await arena?.bank.close();
  await store?.server.stop();
});

describe('idempotent requests to processes that are stopped and killed, on a store and a network that fail', () => {
  it('take effect once, and every repetition gets the first answer or is told that nobody knows', async () => {
    const report = await playRound(arena, seed(), { workers: 3, customers: 40, stormMs: 5_000 });
    expect(report.violations).toEqual([]);
  }, 180_000);
});

describe('a storm of duplicates at two processes', () => {
  it('runs every key once, though a process with owners and waiters is killed meanwhile', async () => {
    const report = await playDuplicates(arena, seed(), { keys: 40, duplicates: 30, kills: 1 });
    expect(report.violations).toEqual([]);
  }, 120_000);

  it('moves money twice where claims are ignored, so that the checker is seen to find it', async () => {
    const control = { keys: 10, duplicates: 10, kills: 0, ignoresClaims: true };
    const { violations } = await playDuplicates(arena, seed(), control);
    expect(violations.filter((violation) => violation.includes('booked'))).not.toEqual([]);
    expect(violations.filter((violation) => violation.includes('the handler ran'))).not.toEqual([]);
  }, 120_000);
});
