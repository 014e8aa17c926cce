import { httpStatusOf, problemDetailsOf } from '@lockstep/core';
import { FenceMisuseError, MemoryFence, StaleFenceError } from '@lockstep/lock';
import { describe, expect, it } from 'vitest';

describe('a fence in memory', () => {
  it('accepts fences that rise or repeat, and refuses a smaller one', () => {
    const guard = new MemoryFence('tape');
    for (const fence of [0n, 3n, 3n, 9_223_372_036_854_775_807n]) guard.touch(fence);
    expect(() => guard.touch(9_223_372_036_854_775_806n)).toThrow(StaleFenceError);
    guard.touch(9_223_372_036_854_775_807n);
  });

  it('refuses what is no fence, and says why', () => {
    const guard = new MemoryFence();
    expect(() => guard.touch(undefined as unknown as bigint)).toThrow('the store of this lock gives none');
    for (const fence of [7, '7', null, -1n, 2n ** 63n]) {
      expect(() => guard.touch(fence as bigint)).toThrow(FenceMisuseError);
    }
    guard.touch(0n);
  });
});

describe('a stale fence', () => {
  it('is a conflict that is not worth a repetition: 409, with both fences as text', () => {
    const error = new StaleFenceError(1_795_244_190_149_499n, 1_795_244_190_149_500n, 'tape');
    expect(httpStatusOf(error)).toBe(409);
    expect(problemDetailsOf(error)).toMatchObject({
      code: 'STALE_FENCE',
      kind: 'conflict',
      retryable: false,
      resource: 'tape',
      fence: '1795244190149499',
      seen: '1795244190149500',
    });
    expect(new StaleFenceError(1n, 2n).fields).toEqual({ fence: '1', seen: '2' });
  });
});
