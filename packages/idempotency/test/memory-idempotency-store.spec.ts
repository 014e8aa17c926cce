import { MemoryIdempotencyStore } from '@lockstep/idempotency';
import { describeIdempotencyStoreContract } from '@lockstep/idempotency/contract';
import { describe, expect, it } from 'vitest';

describeIdempotencyStoreContract({ name: 'memory', open: async () => ({ store: new MemoryIdempotencyStore() }) });

describe('MemoryIdempotencyStore', () => {
  it('does not grow beyond what retention asks for', async () => {
    let nowMs = 1_000;
    const store = new MemoryIdempotencyStore({ nowMs: () => nowMs });
    for (let i = 0; i < 2_000; i += 1) {
      nowMs += 1;
      const claim = { id: `operation-${i}`, owner: `owner-${i}` };
      const terms = { leaseMs: 10, retentionMs: 10, onLeaseExpiry: 'retry', applyWithinMs: 10 } as const;
      await store.begin({ ...claim, ...terms, fingerprint: 'fp', operation: 'POST /' });
      await store.settle(claim, { to: 'completed', response: '1', retentionMs: 10 });
    }
    expect(store.size).toBeLessThan(300);
  });
});
