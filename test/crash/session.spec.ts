import { seed } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type StoreServer, startStore } from './fleet/store-server.js';
import { type LeftKey, leftKeys, leftRows } from './session/leaks.js';
import { playRound } from './session/round.js';

let store: StoreServer<LeftKey>;
beforeAll(async () => {
  store = await startStore('redis', { keys: leftKeys, rows: leftRows });
});
afterAll(() => store?.server.stop());

describe('sessions at processes that are stopped and killed, on a store and a network that fail', () => {
  it('lose no write that was answered, are there until somebody ends them, and never after', async () => {
    const report = await playRound(store, seed(), { workers: 3, users: 8, stormMs: 5_000 });
    expect(report.violations).toEqual([]);
  }, 180_000);

  it('come back from the dead where a store writes what has ended, so that the checker is seen to find it', async () => {
    const size = { workers: 2, users: 8, stormMs: 3_000, resurrects: true };
    const { violations } = await playRound(store, seed(), size);
    expect(violations.filter((violation) => violation.includes('was answered'))).not.toEqual([]);
  }, 120_000);
});
