import { expect, it, type TestContext, vi } from 'vitest';
import { issuesTokens, type TokenStore } from '../store-abilities.js';
import { type ContractSubject, LONG_MS } from './contract-subject.js';

/** What a store that issues tokens keeps of those of which each slot has one. Skipped, and reported so, without it. */
export function describeSingleTokens(subject: ContractSubject): void {
  const tokens = ({ skip }: TestContext): TokenStore => {
    const { store } = subject;
    if (issuesTokens(store)) return store;
    return skip('this store issues no tokens');
  };

  it('gives the one token of a slot to exactly one of a hundred concurrent takers', async (context) => {
    const store = tokens(context);
    const [slot, token] = [subject.id(), subject.id()];
    await store.issueSingle(slot, token, LONG_MS);
    const taken = await Promise.all(Array.from({ length: 100 }, () => store.takeSingle(slot, token)));
    expect(taken.filter(Boolean)).toHaveLength(1);
    expect(await store.takeSingle(slot, token)).toBe(false);
  });

  it('leaves the token of a slot where somebody comes with another one, or to another slot', async (context) => {
    const store = tokens(context);
    const [slot, token] = [subject.id(), subject.id()];
    await store.issueSingle(slot, token, LONG_MS);
    expect(await store.takeSingle(slot, subject.id())).toBe(false);
    expect(await store.takeSingle(slot, '')).toBe(false);
    expect(await store.takeSingle(subject.id(), token)).toBe(false);
    expect(await store.takeSingle(slot, token)).toBe(true);
  });

  it('makes the token before void when a slot gets a new one', async (context) => {
    const store = tokens(context);
    const [slot, before, now] = [subject.id(), subject.id(), subject.id()];
    await store.issueSingle(slot, before, LONG_MS);
    await store.issueSingle(slot, now, LONG_MS);
    expect(await store.takeSingle(slot, before)).toBe(false);
    expect(await store.takeSingle(slot, now)).toBe(true);
  });

  it('gives nobody the token of a slot once its time is over', async (context) => {
    const store = tokens(context);
    const token = subject.id();
    const slots = Array.from({ length: 150 }, () => subject.id());
    await Promise.all(slots.map((slot) => store.issueSingle(slot, token, 300)));
    // Each is asked for once, because a take that comes in time ends it.
    const take = (): Promise<boolean> => store.takeSingle(slots.pop() ?? '', token);
    await vi.waitFor(async () => expect(await take()).toBe(false), { timeout: 3_000, interval: 25 });
    expect(await Promise.all(slots.slice(0, 20).map((slot) => store.takeSingle(slot, token)))).not.toContain(true);
  });
}
