import { describe, expect, it } from 'vitest';
import { FAST, KEPT, STRICT } from './messaging/errand.js';
import { type Books, balance, type EffectRow, type SentRow } from './messaging/ledger.js';

const KEPT_ROW: SentRow = {
  tag: 'm1',
  seed: 7,
  topic: KEPT,
  fate: 'plain',
  at: 'alpha',
  key: null,
  notBefore: 0,
  messageId: null,
};
const FAST_ROW: SentRow = { ...KEPT_ROW, topic: FAST };
const AT_ALPHA: EffectRow = { tag: 'm1', consumer: 'alpha', sequence: null, atMs: 100 };
const AT_BETA: EffectRow = { ...AT_ALPHA, consumer: 'beta' };
const BOTH = [AT_ALPHA, AT_BETA];

function check(books: Partial<Books>, lost = false): string[] {
  const empty: Books = { sent: [], effects: [], dead: [], skips: [], replies: [], pending: 0, inFlight: 0 };
  return balance({ ...empty, ...books }, () => lost);
}

describe('the ledger of messages', () => {
  it('finds nothing where each message took effect once at each consumer', () => {
    expect(check({ sent: [KEPT_ROW], effects: BOTH })).toEqual([]);
    expect(check({ sent: [{ ...KEPT_ROW, fate: 'flaky' }], effects: BOTH })).toEqual([]);
    expect(check({ sent: [FAST_ROW], effects: [AT_ALPHA] })).toEqual([]);
  });

  it('finds an effect that is missing at one of two consumers, and one that came twice', () => {
    expect(check({ sent: [KEPT_ROW], effects: [AT_ALPHA] })).toHaveLength(1);
    expect(check({ sent: [KEPT_ROW], effects: [...BOTH, AT_ALPHA] })).toHaveLength(1);
  });

  it('finds an effect of what was never committed', () => {
    expect(check({ effects: [AT_ALPHA] })).toHaveLength(1);
  });

  it('finds an innocent message among the dead letters', () => {
    expect(check({ sent: [KEPT_ROW], effects: BOTH, dead: [AT_BETA] })).toHaveLength(1);
  });

  it('wants one dead letter and no effect of a message that is refused or kills, at that consumer alone', () => {
    for (const fate of ['refused', 'poison'] as const) {
      const sent = [{ ...KEPT_ROW, fate }];
      expect(check({ sent, effects: [AT_BETA], dead: [AT_ALPHA] })).toEqual([]);
      expect(check({ sent, effects: [AT_BETA] })).toHaveLength(1);
      expect(check({ sent, effects: BOTH, dead: [AT_ALPHA] })).toHaveLength(1);
    }
  });

  it('lets a message that was only accepted be gone where the broker lost what it had, and never be doubled', () => {
    expect(check({ sent: [FAST_ROW] }, true)).toEqual([]);
    expect(check({ sent: [FAST_ROW] })).toHaveLength(1);
    expect(check({ sent: [FAST_ROW], effects: [AT_ALPHA, AT_ALPHA] }, true)).toHaveLength(1);
    expect(check({ sent: [KEPT_ROW] }, true)).toHaveLength(2);
  });

  it('finds an effect before its time', () => {
    expect(check({ sent: [{ ...KEPT_ROW, notBefore: 100 }], effects: BOTH })).toEqual([]);
    expect(check({ sent: [{ ...KEPT_ROW, notBefore: 101 }], effects: BOTH })).toHaveLength(2);
  });

  it('finds a reply that is missing, doubled, wrong, or that nobody asked for', () => {
    const sent = [{ ...KEPT_ROW, messageId: 'id-1' }];
    const done = (consumer: string) => ({ consumer, messageId: 'id-1', outcome: 'done' });
    const replies = [done('alpha'), done('beta')];
    expect(check({ sent, effects: BOTH, replies })).toEqual([]);
    expect(check({ sent, effects: BOTH, replies: [done('alpha')] })).toHaveLength(1);
    expect(check({ sent, effects: BOTH, replies: [...replies, done('beta')] })).toHaveLength(1);
    expect(
      check({ sent, effects: BOTH, replies: [done('alpha'), { ...done('beta'), outcome: 'failed' }] }),
    ).toHaveLength(1);
    expect(check({ sent: [KEPT_ROW], effects: BOTH, replies: [done('alpha')] })).toHaveLength(1);
  });

  it('finds what is still under way', () => {
    expect(check({ pending: 1 })).toHaveLength(1);
    expect(check({ inFlight: 1 })).toHaveLength(1);
  });
});

describe('the ledger of strict keys', () => {
  const row = (tag: string, more: Partial<SentRow> = {}): SentRow => ({
    ...KEPT_ROW,
    topic: STRICT,
    key: 'k',
    tag,
    ...more,
  });
  const effect = (tag: string, n: number, atMs = 100): EffectRow => ({ ...AT_ALPHA, tag, sequence: `1.${n}`, atMs });
  const sent = [row('a'), row('b'), row('c')];

  it('finds nothing where effects follow their sequence, and nothing else where one was skipped before the next', () => {
    expect(check({ sent, effects: [effect('a', 1), effect('b', 2), effect('c', 3)] })).toEqual([]);
    const refused = [row('a'), row('b', { fate: 'refused' }), row('c')];
    const skips = [{ tag: 'b', consumer: 'alpha', sequence: '1.2', atMs: 150 }];
    expect(check({ sent: refused, effects: [effect('a', 1), effect('c', 3, 160)], skips })).toEqual([]);
    expect(check({ sent: refused, effects: [effect('a', 1), effect('c', 3, 140)], skips })).toHaveLength(1);
  });

  it('finds effects that overtook each other, and one that was left out', () => {
    expect(check({ sent, effects: [effect('b', 2), effect('a', 1), effect('c', 3)] })).not.toEqual([]);
    const two = sent.slice(0, 2);
    expect(check({ sent: two, effects: [effect('a', 1), effect('b', 3)] })).toHaveLength(1);
  });
});
