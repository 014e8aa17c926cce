import { describe, expect, it } from 'vitest';
import { FAST, KEPT } from './messaging/errand.js';
import { type Books, balance, type SentRow } from './messaging/ledger.js';

const KEPT_ROW: SentRow = { tag: 'm1', seed: 7, topic: KEPT, fate: 'plain', at: 'alpha' };
const FAST_ROW: SentRow = { ...KEPT_ROW, topic: FAST };
const BOTH = [
  { tag: 'm1', consumer: 'alpha' },
  { tag: 'm1', consumer: 'beta' },
];

function check(books: Partial<Books>, lost = false): string[] {
  const empty: Books = { sent: [], effects: [], dead: [], pending: 0, inFlight: 0 };
  return balance({ ...empty, ...books }, () => lost);
}

describe('the ledger of messages', () => {
  it('finds nothing where each message took effect once at each consumer', () => {
    expect(check({ sent: [KEPT_ROW], effects: BOTH })).toEqual([]);
    expect(check({ sent: [{ ...KEPT_ROW, fate: 'flaky' }], effects: BOTH })).toEqual([]);
    expect(check({ sent: [FAST_ROW], effects: BOTH.slice(0, 1) })).toEqual([]);
  });

  it('finds an effect that is missing at one of two consumers, and one that came twice', () => {
    expect(check({ sent: [KEPT_ROW], effects: BOTH.slice(0, 1) })).toHaveLength(1);
    expect(check({ sent: [KEPT_ROW], effects: [...BOTH, ...BOTH.slice(0, 1)] })).toHaveLength(1);
  });

  it('finds an effect of what was never committed', () => {
    expect(check({ effects: BOTH.slice(0, 1) })).toHaveLength(1);
  });

  it('finds an innocent message among the dead letters', () => {
    expect(check({ sent: [KEPT_ROW], effects: BOTH, dead: BOTH.slice(1) })).toHaveLength(1);
  });

  it('wants one dead letter and no effect of a message that is refused or kills, at that consumer alone', () => {
    for (const fate of ['refused', 'poison'] as const) {
      const sent = [{ ...KEPT_ROW, fate }];
      expect(check({ sent, effects: BOTH.slice(1), dead: BOTH.slice(0, 1) })).toEqual([]);
      expect(check({ sent, effects: BOTH.slice(1) })).toHaveLength(1);
      expect(check({ sent, effects: BOTH, dead: BOTH.slice(0, 1) })).toHaveLength(1);
    }
  });

  it('lets a message that was only accepted be gone where the broker lost what it had, and never be doubled', () => {
    expect(check({ sent: [FAST_ROW] }, true)).toEqual([]);
    expect(check({ sent: [FAST_ROW] })).toHaveLength(1);
    expect(check({ sent: [FAST_ROW], effects: [BOTH[0], BOTH[0]].flatMap((one) => one ?? []) }, true)).toHaveLength(1);
    expect(check({ sent: [KEPT_ROW] }, true)).toHaveLength(2);
  });

  it('finds what is still under way', () => {
    expect(check({ pending: 1 })).toHaveLength(1);
    expect(check({ inFlight: 1 })).toHaveLength(1);
  });
});
