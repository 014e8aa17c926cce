import { describe, expect, it } from 'vitest';
import { checkHistory, type DataLoss, type Hold, holdsOf } from './lock/history.js';
import type { Note } from './lock/journal.js';
import { auditRegisters } from './lock/ledger.js';
import { auditRegister, withChange } from './lock/register.js';

const BOUNDS = { ttlMs: 1_000, answerMs: 200 };

/** A hold from `grantedAt` to its release. */
function hold(id: string, fence: number, grantedAt: number, endedAt: number, more: Partial<Hold> = {}): Hold {
  const times = { askedAt: grantedAt - 1, grantedAt, deadline: endedAt + 500, endedAt, sureAt: grantedAt };
  return { id, key: 'k', fence: BigInt(fence), ...times, ...more };
}

function loss(from: number, more: Partial<DataLoss> = {}): DataLoss {
  return { key: 'k', from, to: from + 10, isCalm: false, ...more };
}

function check(holds: readonly Hold[], losses: readonly DataLoss[] = []): string[] {
  return checkHistory(holds, losses, BOUNDS);
}

describe('the checker of histories', () => {
  it('finds nothing where one holds after the other and fences rise', () => {
    expect(check([hold('a', 1, 0, 100), hold('b', 2, 100, 200), hold('c', 3, 250, 300)])).toEqual([]);
  });

  it('finds two that held a key at once, in whatever order they are given', () => {
    const [a, b] = [hold('a', 1, 0, 100), hold('b', 2, 99, 200)];
    expect(check([b, a])).toEqual(['a (fence 1) and b (fence 2) both held k for 1.0 ms']);
    expect(check([a, { ...b, key: 'other' }])).toEqual([]);
  });

  it('finds one that held on beside several successors', () => {
    expect(check([hold('a', 1, 0, 900), hold('b', 2, 100, 200), hold('c', 3, 300, 400)])).toHaveLength(2);
  });

  it('lets a holder that stands still believe until its deadline, and no longer', () => {
    const frozen = hold('a', 1, 0, 5_000, { deadline: 990 });
    expect(check([frozen, hold('b', 2, 1_000, 1_100)])).toEqual([]);
    expect(check([frozen, hold('b', 2, 980, 1_100)])).toHaveLength(1);
    expect(check([{ ...frozen, sureAt: 991 }])).toEqual(['a (fence 1) was sure of its lock after its deadline']);
  });

  it('finds a fence that repeats or falls', () => {
    const a = hold('a', 5, 0, 100);
    expect(check([a, hold('b', 5, 100, 200)])).toHaveLength(1);
    expect(check([a, hold('b', 4, 100, 200)])).toHaveLength(1);
    expect(check([a, hold('b', 6, 100, 200), hold('c', 5, 300, 400)])).toHaveLength(2);
  });

  it('lets two believe at once after a loss of data, within the lease of the older one', () => {
    const [old, young] = [hold('a', 1, 0, 900), hold('b', 2, 600, 700)];
    expect(check([old, young], [loss(500)])).toEqual([]);
    expect(check([old, young], [loss(500, { key: undefined })])).toEqual([]);
    expect(check([old, young], [loss(500, { key: 'other' })])).toHaveLength(1);
    expect(check([old, hold('b', 2, 400, 450)], [loss(500)])).toHaveLength(1);
    expect(check([hold('a', 1, 525, 900, { askedAt: 520 }), hold('b', 2, 600, 700)], [loss(500)])).toHaveLength(1);
  });

  it('finds a holder that learns of a loss of data after its lease, or in calm after its next heartbeat', () => {
    expect(check([hold('a', 1, 0, 1_600)], [loss(500)])).toHaveLength(1);
    expect(check([hold('a', 1, 0, 1_400)], [loss(500)])).toEqual([]);
    expect(check([hold('a', 1, 0, 1_400)], [loss(500, { isCalm: true })])).toHaveLength(1);
    expect(check([hold('a', 1, 0, 1_000)], [loss(500, { isCalm: true })])).toEqual([]);
  });

  it('excuses no fence that falls though data were lost, unless the grant itself may be the older one', () => {
    const first = hold('a', 7, 600, 700);
    expect(check([first, hold('b', 6, 750, 800)], [loss(500)])).toHaveLength(1);
    expect(check([first, hold('b', 6, 750, 800, { askedAt: 490 })], [loss(500)])).toEqual([]);
    expect(check([first, hold('b', 7, 750, 800, { askedAt: 490 })], [loss(500)])).toHaveLength(1);
  });
});

describe('the history of a process', () => {
  const granted: Note = { type: 'granted', hold: 'a', key: 'k', fence: '9', askedAt: 0, at: 10, until: 900 };

  it('has its last deadline, its first end and its latest certainty', () => {
    const notes: Note[] = [
      granted,
      { type: 'extended', hold: 'a', until: 1_300 },
      { type: 'sure', hold: 'a', at: 400 },
      { type: 'ended', hold: 'a', at: 500, how: 'stolen' },
      { type: 'ended', hold: 'a', at: 600, how: 'released' },
    ];
    expect(holdsOf(notes)).toMatchObject([{ fence: 9n, grantedAt: 10, deadline: 1_300, endedAt: 500, sureAt: 400 }]);
  });

  it('ends when the process was killed', () => {
    expect(holdsOf([granted], 300)).toMatchObject([{ deadline: 900, endedAt: 300 }]);
  });
});

describe('the audit of registers', () => {
  it('finds confirmed changes that are gone, and changes that are there twice', () => {
    const value = ['a', 'b', 'b', 'd'].reduce(withChange, '');
    expect(auditRegister(value, ['a', 'b', 'c'])).toEqual({ lost: ['c'], doubled: ['b'] });
    expect(auditRegister('', ['a'])).toEqual({ lost: ['a'], doubled: [] });
  });

  it('blames registers with a fence, and counts what the control lost', () => {
    const changed = (register: string): Note => ({ type: 'changed', register, key: 'k', change: 'w.1' });
    const states = ['redis', 'row', 'control'].map((register) => ({ register, key: 'k', value: '' }));
    expect(
      auditRegisters(
        states,
        states.map(({ register }) => changed(register)),
      ),
    ).toEqual({
      violations: [
        'register redis of k lost the confirmed change w.1',
        'register row of k lost the confirmed change w.1',
      ],
      controlLosses: 1,
    });
  });
});
