import { describe, expect, it } from 'vitest';
import type { Seen } from './session/desk.controller.js';
import { checkLeaks } from './session/leaks.js';
import { checkVisit, type Observation, type Visit } from './session/visit.js';

const USER = 'ann';
const TOKEN = 't1';

function seen(attributes: Record<string, number> = {}, principal: string | null = USER): Seen {
  return { principal, handle: principal === null ? null : 'h', attributes };
}

function look(at: number, what: Seen, more: Partial<Observation> = {}): Observation {
  return { what: 'seen', token: TOKEN, sentAt: at, at: at + 5, status: 200, seen: what, ...more };
}

function write(what: 'save' | 'set', at: number, value: number, more: Partial<Observation> = {}): Observation {
  return look(at, seen(), { what, name: 'a', value, status: 201, ...more });
}

function check(observations: readonly Observation[], more: Partial<Visit> = {}): string[] {
  const issues = new Map([[TOKEN, { sentAt: 0, at: 5 }]]);
  return checkVisit({ user: USER, issues, ends: [], revocations: [], observations, ...more });
}

describe('the checker of visits', () => {
  it('finds nothing where writes are there, ends end, and what was not answered may be either', () => {
    expect(check([write('save', 10, 1), look(20, seen({ a: 1 }))])).toEqual([]);
    expect(check([write('save', 10, 1, { status: 0, seen: undefined }), look(20, seen())])).toEqual([]);
    expect(check([write('save', 10, 1, { status: 0, seen: undefined }), look(20, seen({ a: 1 }))])).toEqual([]);
    const ends = [{ token: TOKEN, by: 'logout', sentAt: 15, at: 18 }];
    expect(check([write('save', 10, 1), look(20, seen({}, null))], { ends })).toEqual([]);
  });

  it('finds a write that was answered and is away, and one that nobody sent', () => {
    expect(check([write('save', 10, 2), look(20, seen({ a: 1 }))])).toHaveLength(1);
    expect(check([write('save', 10, 2), look(20, seen({ a: 3 }))])).toHaveLength(1);
  });

  it('takes a write with the answer as kept, unless the session was being ended', () => {
    const observations = [write('set', 10, 2), look(20, seen())];
    expect(check(observations)).toHaveLength(1);
    expect(check(observations, { ends: [{ token: TOKEN, by: 'rotation', sentAt: 12, at: undefined }] })).toEqual([]);
  });

  it('finds an update that was answered and does not count, and one that counts twice', () => {
    const count = look(10, seen(), { what: 'count', status: 201 });
    expect(check([count, look(20, seen({ count: 1 }))])).toEqual([]);
    expect(check([count, look(20, seen())])).toHaveLength(1);
    expect(check([count, look(20, seen({ count: 2 }))])).toHaveLength(1);
  });

  it('finds a session that is away though nobody ended it, and one of another user', () => {
    expect(check([look(20, seen({}, null))])).toHaveLength(1);
    expect(check([look(20, seen({}, 'bob'))])).toHaveLength(1);
    expect(check([look(20, seen({}, null))], { revocations: [{ sentAt: 10, at: undefined }] })).toEqual([]);
    // It was over before the login.
    expect(check([look(20, seen({}, null))], { revocations: [{ sentAt: -9, at: -1 }] })).toHaveLength(1);
  });

  it('finds a token that serves after its end was answered', () => {
    const observations = [look(20, seen())];
    expect(check(observations, { ends: [{ token: TOKEN, by: 'logout', sentAt: 10, at: 15 }] })).toHaveLength(1);
    expect(check(observations, { revocations: [{ sentAt: 10, at: 15 }] })).toHaveLength(1);
    expect(check(observations, { ends: [{ token: TOKEN, by: 'logout', sentAt: 10, at: 22 }] })).toEqual([]);
    // The login may have come after it.
    expect(check(observations, { revocations: [{ sentAt: 3, at: 15 }] })).toEqual([]);
  });

  it('finds a key that never ends', () => {
    expect(checkLeaks([{ key: 'k', ttlMs: 5 }])).toEqual([]);
    expect(checkLeaks([{ key: 'k', ttlMs: -1 }])).toHaveLength(1);
  });
});
