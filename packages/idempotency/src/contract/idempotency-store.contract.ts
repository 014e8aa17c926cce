import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  ContractSubject,
  completed,
  type IdempotencyStoreHarness,
  LONG_MS,
  POLL,
  released,
} from './contract-subject.js';
import { describeSingleTokens } from './single-token.facts.js';
import { describeStoreAbilities } from './store-abilities.contract.js';

const LEASE_MS = 300;

/** What every driver of {@link IdempotencyStore} must keep. Call it at the top of a spec file. */
export function describeIdempotencyStoreContract(harness: IdempotencyStoreHarness): void {
  describe(`IdempotencyStore contract: ${harness.name}`, () => {
    const subject = new ContractSubject();
    beforeAll(async () => subject.open(harness));
    afterAll(async () => subject.close());

    describeClaims(subject);
    describeExpiry(subject);
    describeSettlements(subject);
    describeOperators(subject);
    describeStoreAbilities(subject);
    describeSingleTokens(subject);
  });
}

function describeClaims(subject: ContractSubject): void {
  it('gives an operation to exactly one of many concurrent callers', async () => {
    const outcomes = await subject.storm(subject.id(), 50, { leaseMs: LONG_MS });
    expect(outcomes.filter(({ outcome }) => outcome === 'acquired')).toHaveLength(1);
    expect(outcomes.filter(({ outcome }) => outcome === 'busy')).toHaveLength(49);
  });

  it('tells a busy caller how long the lease still lasts', async () => {
    const { id } = await subject.acquired({ leaseMs: LONG_MS });
    const outcome = await subject.begin({ id });
    expect(outcome).toMatchObject({ outcome: 'busy' });
    expect(outcome.outcome === 'busy' && outcome.retryAfterMs).toBeGreaterThan(LONG_MS - 5_000);
  });

  it('acquires again, with the same fence, for the owner whose begin is sent twice (H6a)', async () => {
    const { request, fence } = await subject.acquired({ leaseMs: LONG_MS });
    expect(await subject.store.begin(request)).toEqual({ outcome: 'acquired', fence, recovered: false });
  });

  it('acquires again for the owner whose begin is sent twice even when its lease is over (H6a)', async () => {
    const { request, fence, id } = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'uncertain' });
    await vi.waitFor(async () => expect(await subject.begin({ id })).toEqual({ outcome: 'uncertain' }), POLL);
    expect(await subject.store.begin(request)).toEqual({ outcome: 'acquired', fence, recovered: false });
    expect(await subject.begin({ id })).toMatchObject({ outcome: 'busy' });
  });

  it('refuses a begin of an owner that has already released the operation', async () => {
    const { request, claim } = await subject.acquired();
    await subject.store.settle(claim, released(false));
    expect(await subject.store.begin(request)).toEqual({ outcome: 'late' });
  });

  it('decides a mismatch before anything else while the operation runs', async () => {
    const { id } = await subject.acquired();
    expect(await subject.begin({ id, fingerprint: 'other' })).toEqual({ outcome: 'mismatch' });
  });

  it('decides a mismatch before anything else once the operation is completed or uncertain', async () => {
    const done = await subject.acquired();
    await subject.store.settle(done.claim, completed('{}'));
    expect(await subject.begin({ id: done.id, fingerprint: 'other' })).toEqual({ outcome: 'mismatch' });
    const unknown = await subject.acquired();
    await subject.store.settle(unknown.claim, { to: 'uncertain' });
    expect(await subject.begin({ id: unknown.id, fingerprint: 'other' })).toEqual({ outcome: 'mismatch' });
  });

  it('keeps operations apart', async () => {
    await subject.acquired();
    expect(await subject.begin({})).toMatchObject({ outcome: 'acquired', recovered: false });
  });
}

function describeExpiry(subject: ContractSubject): void {
  it('hands an operation of policy retry to exactly one next owner, in one step, with a higher fence', async () => {
    const { id, fence } = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'retry' });
    const next = await vi.waitFor(async () => {
      const outcomes = await subject.storm(id, 20, { leaseMs: LONG_MS, onLeaseExpiry: 'retry' });
      const owners = outcomes.filter(({ outcome }) => outcome === 'acquired');
      expect(owners).toHaveLength(1);
      return owners[0];
    }, POLL);
    expect(next).toMatchObject({ recovered: true });
    expect(next?.outcome === 'acquired' && next.fence > fence).toBe(true);
  });

  it('tells every later owner that one vanished, also after a take-over that did nothing, until it is completed', async () => {
    const crashed = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'retry' });
    const { id, request, claim } = await subject.takenOver(crashed.id);
    expect(await subject.store.begin(request)).toMatchObject({ outcome: 'acquired', recovered: true });
    expect(await subject.store.settle(claim, released(true))).toBe(true);
    expect(await subject.begin({ id, fingerprint: 'other' })).toEqual({ outcome: 'mismatch' });
    expect(await subject.begin({ id })).toMatchObject({ outcome: 'acquired', recovered: true });
  });

  it('makes a write of the former owner after a takeover a no-op', async () => {
    const zombie = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'retry' });
    const { request, claim } = await subject.takenOver(zombie.id);
    expect(await subject.store.settle(zombie.claim, completed('zombie'))).toBe(false);
    expect(await subject.store.settle(zombie.claim, released(true))).toBe(false);
    expect(await subject.store.renew([{ ...zombie.claim, leaseMs: LEASE_MS, retentionMs: LONG_MS }])).toEqual(['lost']);
    expect(await subject.store.settle(claim, completed('"first"'))).toBe(true);
    expect(await subject.begin({ ...request, owner: 'next' })).toEqual({ outcome: 'completed', response: '"first"' });
  });

  it('lets a slow owner complete what was marked uncertain (H6c)', async () => {
    const { id, claim } = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'uncertain' });
    await vi.waitFor(async () => expect(await subject.begin({ id })).toEqual({ outcome: 'uncertain' }), POLL);
    expect(await subject.store.settle(claim, completed('"late"'))).toBe(true);
    expect(await subject.begin({ id })).toEqual({ outcome: 'completed', response: '"late"' });
    expect(await subject.uncertainIds()).not.toContain(id);
  });

  it('never forgets a running operation of policy uncertain, however short the retention (H6d)', async () => {
    const { id } = await subject.acquired({ leaseMs: 60, retentionMs: 60, onLeaseExpiry: 'uncertain' });
    const { id: gone, claim } = await subject.acquired({ leaseMs: 60, retentionMs: 300 });
    await subject.store.settle(claim, { to: 'completed', response: '1', retentionMs: 300 });
    // The neighbour is forgotten after a multiple of both times of the one that must stay.
    await vi.waitFor(
      async () => expect(await subject.begin({ id: gone })).toMatchObject({ outcome: 'acquired' }),
      POLL,
    );
    expect(await subject.begin({ id })).toEqual({ outcome: 'uncertain' });
  });

  it('keeps the claim of an owner that renews beyond the retention (H6e)', async () => {
    const { id, claim } = await subject.acquired({ leaseMs: LEASE_MS, retentionMs: LEASE_MS, onLeaseExpiry: 'retry' });
    const clock = await subject.acquired();
    await subject.store.settle(clock.claim, { to: 'completed', response: '1', retentionMs: LEASE_MS * 3 });
    await vi.waitFor(async () => {
      expect(await subject.store.renew([{ ...claim, leaseMs: LEASE_MS, retentionMs: LEASE_MS }])).toEqual(['renewed']);
      expect(await subject.begin({ id })).toMatchObject({ outcome: 'busy' });
      expect(await subject.begin({ id: clock.id })).toMatchObject({ outcome: 'acquired' });
    }, POLL);
  });

  it('raises the fence over release, retention and deletion (H6f)', async () => {
    const { id, claim, fence } = await subject.acquired();
    await subject.store.settle(claim, { to: 'released', notApplied: true, retentionMs: 50 });
    const second = await subject.acquired({ id });
    expect(second.fence > fence).toBe(true);
    await subject.store.settle(second.claim, { to: 'completed', response: '1', retentionMs: 50 });
    const third = await vi.waitFor(() => subject.acquired({ id }), POLL);
    expect(third.fence > second.fence).toBe(true);
  });

  it('renews many claims in one call and tells of each whether it is still held', async () => {
    const [a, b] = [await subject.acquired(), await subject.acquired()];
    await subject.store.settle(b.claim, completed('1'));
    const items = [a.claim, b.claim, { id: subject.id(), owner: 'nobody' }];
    const answers = await subject.store.renew(
      items.map((item) => ({ ...item, leaseMs: LONG_MS, retentionMs: LONG_MS })),
    );
    expect(answers).toEqual(['renewed', 'lost', 'lost']);
  });

  it('lets nobody begin what its owner called uncertain, though a late renewal made it run again, under retry too', async () => {
    const { id, claim } = await subject.acquired({ onLeaseExpiry: 'retry' });
    await subject.store.settle(claim, { to: 'uncertain' });
    await subject.store.renew([{ ...claim, leaseMs: 60, retentionMs: LONG_MS }]);
    await vi.waitFor(async () => {
      expect(await subject.begin({ id, onLeaseExpiry: 'retry' })).toEqual({ outcome: 'uncertain' });
    }, POLL);
    expect(await subject.uncertainIds()).toContain(id);
  });

  it('makes an uncertain operation run again when its owner renews', async () => {
    const { id, claim } = await subject.acquired();
    await subject.store.settle(claim, { to: 'uncertain' });
    expect(await subject.store.renew([{ ...claim, leaseMs: LONG_MS, retentionMs: LONG_MS }])).toEqual(['renewed']);
    expect(await subject.begin({ id })).toMatchObject({ outcome: 'busy' });
    expect(await subject.uncertainIds()).not.toContain(id);
  });
}

function describeSettlements(subject: ContractSubject): void {
  it('replays a completed operation, byte by byte', async () => {
    const { id, claim } = await subject.acquired();
    const response = JSON.stringify({ text: 'ключ 🔑 \u0000\n"', big: 'x'.repeat(10_000) });
    expect(await subject.store.settle(claim, completed(response))).toBe(true);
    expect(await subject.begin({ id })).toEqual({ outcome: 'completed', response });
  });

  it('answers a repeated settlement as the first time (H6b)', async () => {
    for (const settlement of [completed('1'), released(false), released(true), { to: 'uncertain' } as const]) {
      const { claim } = await subject.acquired();
      expect(await subject.store.settle(claim, settlement)).toBe(true);
      expect(await subject.store.settle(claim, settlement)).toBe(true);
    }
  });

  it('never overwrites a completed operation, not even for its own owner', async () => {
    const { id, claim } = await subject.acquired();
    await subject.store.settle(claim, completed('"first"'));
    await subject.store.settle(claim, completed('"second"'));
    expect(await subject.store.settle(claim, released(true))).toBe(false);
    expect(await subject.store.settle(claim, { to: 'uncertain' })).toBe(false);
    expect(await subject.begin({ id })).toEqual({ outcome: 'completed', response: '"first"' });
  });

  it('remembers the payload of a released operation, unless nothing was applied (H6g)', async () => {
    const maybe = await subject.acquired();
    await subject.store.settle(maybe.claim, released(false));
    expect(await subject.begin({ id: maybe.id, fingerprint: 'other' })).toEqual({ outcome: 'mismatch' });
    expect(await subject.begin({ id: maybe.id })).toMatchObject({ outcome: 'acquired', recovered: false });
    const never = await subject.acquired();
    await subject.store.settle(never.claim, released(true));
    expect(await subject.begin({ id: never.id, fingerprint: 'other' })).toMatchObject({ outcome: 'acquired' });
  });

  it('remembers the payload of an earlier attempt when a later one did nothing (H6g)', async () => {
    const { id, claim } = await subject.acquired();
    await subject.store.settle(claim, released(false));
    const second = await subject.acquired({ id });
    await subject.store.settle(second.claim, released(true));
    expect(await subject.begin({ id, fingerprint: 'other' })).toEqual({ outcome: 'mismatch' });
    expect(await subject.begin({ id })).toMatchObject({ outcome: 'acquired', recovered: false });
  });

  it('settles nothing for anybody but the owner', async () => {
    const { id } = await subject.acquired({ leaseMs: LONG_MS });
    expect(await subject.store.settle({ id, owner: 'thief' }, completed('1'))).toBe(false);
    expect(await subject.store.settle({ id: subject.id(), owner: 'thief' }, completed('1'))).toBe(false);
    expect(await subject.begin({ id })).toMatchObject({ outcome: 'busy' });
  });
}

function describeOperators(subject: ContractSubject): void {
  it('sweeps a crashed owner of policy uncertain into the list, without anybody asking for the key', async () => {
    const { id } = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'uncertain', operation: 'POST /orders/:id' });
    await vi.waitFor(async () => {
      await subject.store.sweep(100);
      expect(await subject.uncertainIds()).toContain(id);
    }, POLL);
    const listed = (await subject.store.listUncertain(1_000)).find((entry) => entry.id === id);
    expect(listed?.operation).toBe('POST /orders/:id');
    expect(Math.abs((listed?.sinceAt ?? 0) - Date.now())).toBeLessThan(60_000);
  });

  it('does not sweep what still runs, nor operations of policy retry', async () => {
    const running = await subject.acquired({ leaseMs: LONG_MS, onLeaseExpiry: 'uncertain' });
    const retried = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'retry' });
    const crashed = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'uncertain' });
    await vi.waitFor(async () => {
      await subject.store.sweep(100);
      expect(await subject.uncertainIds()).toContain(crashed.id);
    }, POLL);
    expect(await subject.uncertainIds()).not.toContain(running.id);
    expect(await subject.uncertainIds()).not.toContain(retried.id);
  });

  it('takes an operator at his word: completed is replayed, released may run again with any payload', async () => {
    const [a, b] = [await subject.acquired(), await subject.acquired()];
    for (const { claim } of [a, b]) await subject.store.settle(claim, { to: 'uncertain' });
    expect(await subject.store.resolve(a.id, { to: 'completed', response: '"done"', retentionMs: LONG_MS })).toBe(true);
    expect(await subject.store.resolve(b.id, { to: 'released', retentionMs: LONG_MS })).toBe(true);
    expect(await subject.begin({ id: a.id })).toEqual({ outcome: 'completed', response: '"done"' });
    expect(await subject.begin({ id: b.id, fingerprint: 'other' })).toMatchObject({ outcome: 'acquired' });
    const left = await subject.uncertainIds();
    expect(left).not.toContain(a.id);
    expect(left).not.toContain(b.id);
  });

  it('gives the operator the last word over an owner that comes back', async () => {
    const { claim, id } = await subject.acquired();
    await subject.store.settle(claim, { to: 'uncertain' });
    await subject.store.resolve(id, { to: 'completed', response: '"operator"', retentionMs: LONG_MS });
    expect(await subject.store.settle(claim, completed('"owner"'))).toBe(false);
    expect(await subject.begin({ id })).toEqual({ outcome: 'completed', response: '"operator"' });
  });

  it('keeps what an operator resolves for as long as it was begun with, where that is longer', async () => {
    const [kept, clock] = [await subject.acquired(), await subject.acquired({ retentionMs: 60 })];
    for (const { claim, id } of [kept, clock]) {
      await subject.store.settle(claim, { to: 'uncertain' });
      await subject.store.resolve(id, { to: 'completed', response: '"done"', retentionMs: 60 });
    }
    await subject.takenOver(clock.id);
    expect(await subject.begin({ id: kept.id })).toEqual({ outcome: 'completed', response: '"done"' });
  });

  it('resolves only what is uncertain', async () => {
    const { id } = await subject.acquired();
    expect(await subject.store.resolve(id, { to: 'released', retentionMs: LONG_MS })).toBe(false);
    expect(await subject.store.resolve(subject.id(), { to: 'released', retentionMs: LONG_MS })).toBe(false);
    expect(await subject.store.resolve('', { to: 'released', retentionMs: LONG_MS })).toBe(false);
  });
}
