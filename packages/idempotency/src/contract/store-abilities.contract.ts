import { describe, expect, it, vi } from 'vitest';
import type { IdempotencyStore } from '../idempotency-store.js';
import {
  type AdoptingStore,
  isAdopting,
  isPushing,
  issuesTokens,
  keepsSteps,
  type PushingStore,
  type StepStore,
  type TokenStore,
} from '../store-abilities.js';
import { type ContractSubject, completed, LONG_MS, POLL, released } from './contract-subject.js';

/** Facts of what a store may be able to do beyond the port; those of abilities that it does not have are skipped. */
export function describeStoreAbilities(subject: ContractSubject): void {
  describe('steps', () => describeSteps(subject));
  describe('adoption', () => describeAdoption(subject));
  describe('tokens', () => describeTokens(subject));
  describe('pushed waits', () => describePushes(subject));
}

type Fact<Ability> = (name: string, fact: (store: IdempotencyStore & Ability) => Promise<void>) => void;

function factIf<Ability>(
  subject: ContractSubject,
  has: (store: IdempotencyStore) => store is IdempotencyStore & Ability,
): Fact<Ability> {
  return (name, fact) =>
    it(name, async ({ skip }) => {
      const { store } = subject;
      if (!has(store)) return skip('it does not have this ability');
      await fact(store);
    });
}

function describeSteps(subject: ContractSubject): void {
  const fact: Fact<StepStore> = factIf(subject, keepsSteps);

  fact('are handed to whoever takes the operation over, and to the owner that begins twice', async (store) => {
    const { id, request, claim } = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'retry' });
    expect(await store.saveStep(claim, 'charge', '{"charge":"ключ 🔑\\u0000"}')).toBe(true);
    expect(await store.saveStep(claim, '__proto__', '2')).toBe(true);
    const steps = Object.fromEntries([
      ['charge', '{"charge":"ключ 🔑\\u0000"}'],
      ['__proto__', '2'],
    ]);
    expect(await store.begin(request)).toMatchObject({ outcome: 'acquired', steps });
    const next = await vi.waitFor(async () => {
      const outcome = await subject.begin({ id, onLeaseExpiry: 'retry' });
      expect(outcome).toMatchObject({ outcome: 'acquired', recovered: true });
      return outcome;
    }, POLL);
    expect(next).toMatchObject({ steps });
  });

  fact('keep the first result of a name', async (store) => {
    const { request, claim } = await subject.acquired();
    await store.saveStep(claim, 'charge', 'first');
    expect(await store.saveStep(claim, 'charge', 'second')).toBe(true);
    expect(await store.begin(request)).toMatchObject({ steps: { charge: 'first' } });
  });

  fact('outlive a release that left something behind, and end with one that did nothing', async (store) => {
    const left = await subject.acquired();
    await store.saveStep(left.claim, 'charge', '1');
    await store.settle(left.claim, released(false));
    expect(await subject.begin({ id: left.id })).toMatchObject({ outcome: 'acquired', steps: { charge: '1' } });
    const nothing = await subject.acquired();
    await store.saveStep(nothing.claim, 'charge', '1');
    await store.settle(nothing.claim, released(true));
    const next = await subject.begin({ id: nothing.id });
    expect(next).toMatchObject({ outcome: 'acquired' });
    expect(next.outcome === 'acquired' && next.steps).toBeUndefined();
  });

  fact('are not kept for a zombie, nor once the operation has ended', async (store) => {
    const zombie = await subject.acquired({ leaseMs: 60, onLeaseExpiry: 'retry' });
    const next = await subject.takenOver(zombie.id);
    expect(await store.saveStep(zombie.claim, 'charge', 'zombie')).toBe(false);
    expect(await store.saveStep({ id: subject.id(), owner: 'nobody' }, 'charge', '1')).toBe(false);
    await store.settle(next.claim, completed('1'));
    expect(await store.saveStep(next.claim, 'charge', 'late')).toBe(false);
  });

  fact('are kept for a slow owner of what was marked uncertain', async (store) => {
    const { id, claim } = await subject.acquired();
    await store.settle(claim, { to: 'uncertain' });
    expect(await store.saveStep(claim, 'charge', '1')).toBe(true);
    expect(await subject.begin({ id })).toEqual({ outcome: 'uncertain' });
  });
}

function describeAdoption(subject: ContractSubject): void {
  const fact: Fact<AdoptingStore> = factIf(subject, isAdopting);
  const wish = (id: string, owner: string) => ({ id, owner, leaseMs: LONG_MS, retentionMs: LONG_MS });

  fact('gives an uncertain operation to exactly one of many, with a higher fence', async (store) => {
    const { id, claim, fence } = await subject.acquired();
    await store.settle(claim, { to: 'uncertain' });
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => store.adopt(wish(id, subject.id()))));
    const winners = outcomes.filter((outcome) => outcome.outcome === 'acquired');
    expect(winners).toHaveLength(1);
    expect(winners[0]?.fence).toBeGreaterThan(fence);
    expect(await subject.begin({ id })).toMatchObject({ outcome: 'busy' });
    expect(await subject.uncertainIds()).not.toContain(id);
  });

  fact('answers the adopter that asks twice with the same fence', async (store) => {
    const { id, claim } = await subject.acquired();
    await store.settle(claim, { to: 'uncertain' });
    const first = await store.adopt(wish(id, 'adopter'));
    expect(await store.adopt(wish(id, 'adopter'))).toEqual(first);
  });

  fact('tells how long to keep the answer: as asked, or as it was begun with, where that is longer', async (store) => {
    for (const [begunWith, asked] of [
      [LONG_MS, 1_000],
      [1_000, LONG_MS],
    ]) {
      const { id, claim } = await subject.acquired({ retentionMs: begunWith ?? 0 });
      await store.settle(claim, { to: 'uncertain' });
      const adopted = await store.adopt({ ...wish(id, 'adopter'), retentionMs: asked ?? 0 });
      expect(adopted).toMatchObject({ outcome: 'acquired', retentionMs: LONG_MS });
    }
  });

  fact('takes the say from the former owner, and gives it to the adopter', async (store) => {
    const { id, claim } = await subject.acquired();
    await store.settle(claim, { to: 'uncertain' });
    await store.adopt(wish(id, 'adopter'));
    expect(await store.settle(claim, completed('"late"'))).toBe(false);
    expect(await store.settle({ id, owner: 'adopter' }, completed('"adopted"'))).toBe(true);
    expect(await subject.begin({ id })).toEqual({ outcome: 'completed', response: '"adopted"' });
  });

  fact('keeps payload and policy: an adopter that dies leaves the operation uncertain again', async (store) => {
    const { id, claim } = await subject.acquired();
    await store.settle(claim, { to: 'uncertain' });
    await store.adopt({ ...wish(id, 'adopter'), leaseMs: 60 });
    expect(await subject.begin({ id, fingerprint: 'other' })).toEqual({ outcome: 'mismatch' });
    await vi.waitFor(async () => {
      await store.sweep(1_000);
      expect(await subject.uncertainIds()).toContain(id);
    }, POLL);
  });

  fact('finds nothing where an operation runs, has ended, or never was', async (store) => {
    const [running, done] = [await subject.acquired(), await subject.acquired()];
    await store.settle(done.claim, completed('1'));
    for (const id of [running.id, done.id, subject.id()]) {
      expect(await store.adopt(wish(id, 'adopter'))).toEqual({ outcome: 'gone' });
    }
    expect(await store.settle(running.claim, completed('1'))).toBe(true);
  });
}

function describeTokens(subject: ContractSubject): void {
  const fact: Fact<TokenStore> = factIf(subject, issuesTokens);

  fact('begin only what was issued, and that once', async (store) => {
    const id = subject.id();
    expect(await subject.begin({ id, requiresIssue: true })).toEqual({ outcome: 'absent' });
    await store.issue(id, LONG_MS);
    const outcomes = await subject.storm(id, 20, { requiresIssue: true });
    expect(outcomes.filter(({ outcome }) => outcome === 'acquired')).toHaveLength(1);
    expect(outcomes.filter(({ outcome }) => outcome === 'busy')).toHaveLength(19);
  });

  fact('end by themselves when nobody begins', async (store) => {
    const id = subject.id();
    await store.issue(id, 60);
    const clock = await subject.acquired();
    await store.settle(clock.claim, { to: 'completed', response: '1', retentionMs: 300 });
    await vi.waitFor(
      async () => expect(await subject.begin({ id: clock.id })).toMatchObject({ fence: expect.anything() }),
      POLL,
    );
    expect(await subject.begin({ id, requiresIssue: true })).toEqual({ outcome: 'absent' });
  });

  fact('are new, replayed or restored as any operation, and issuing again changes nothing of it', async (store) => {
    const id = subject.id();
    await store.issue(id, LONG_MS);
    const first = await subject.acquired({ id, requiresIssue: true });
    await store.issue(id, 60);
    expect(await subject.begin({ id, requiresIssue: true })).toMatchObject({ outcome: 'busy' });
    await store.settle(first.claim, released(true));
    const second = await subject.acquired({ id, requiresIssue: true, fingerprint: 'other' });
    await store.settle(second.claim, completed('"done"'));
    await store.issue(id, LONG_MS);
    const again = await subject.begin({ id, requiresIssue: true, fingerprint: 'other' });
    expect(again).toEqual({ outcome: 'completed', response: '"done"' });
  });

  fact('do not end a running operation of policy uncertain when their time is over', async (store) => {
    const id = subject.id();
    await store.issue(id, 60);
    await subject.acquired({ id, requiresIssue: true, leaseMs: 60 });
    const clock = await subject.acquired();
    await store.settle(clock.claim, { to: 'completed', response: '1', retentionMs: 300 });
    await vi.waitFor(
      async () => expect(await subject.begin({ id: clock.id })).toMatchObject({ fence: expect.anything() }),
      POLL,
    );
    expect(await subject.begin({ id, requiresIssue: true })).toEqual({ outcome: 'uncertain' });
  });
}

function describePushes(subject: ContractSubject): void {
  const fact: Fact<PushingStore> = factIf(subject, isPushing);

  fact('tell who waits that the operation has ended', async (store) => {
    for (const settlement of [completed('1'), released(false), released(true), { to: 'uncertain' } as const]) {
      const { id, claim } = await subject.acquired();
      const heard = vi.fn();
      const leave = await store.watch(id, heard);
      expect(await subject.begin({ id, isWaiting: true })).toMatchObject({ outcome: 'busy' });
      await store.settle(claim, settlement);
      await vi.waitFor(() => expect(heard).toHaveBeenCalled(), POLL);
      await leave();
    }
  });

  fact('tell every one of many who wait', async (store) => {
    const { id, claim } = await subject.acquired();
    const heard = Array.from({ length: 5 }, () => vi.fn());
    const leaves = await Promise.all(heard.map((each) => store.watch(id, each)));
    await subject.begin({ id, isWaiting: true });
    await store.settle(claim, completed('1'));
    await vi.waitFor(() => {
      for (const each of heard) expect(each).toHaveBeenCalled();
    }, POLL);
    await Promise.all(leaves.map((leave) => leave()));
  });

  fact('do not tell who has left', async (store) => {
    const { id, claim } = await subject.acquired();
    const [left, stayed] = [vi.fn(), vi.fn()];
    const leave = await store.watch(id, left);
    const leaveLater = await store.watch(id, stayed);
    await leave();
    await subject.begin({ id, isWaiting: true });
    await store.settle(claim, completed('1'));
    await vi.waitFor(() => expect(stayed).toHaveBeenCalled(), POLL);
    expect(left).not.toHaveBeenCalled();
    await leaveLater();
  });
}
