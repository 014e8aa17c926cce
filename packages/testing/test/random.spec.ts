import { seed, seededRandom } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';

describe('seededRandom()', () => {
  it('gives the same numbers for the same seed and others for another', () => {
    const draw = (from: number): number[] => {
      const random = seededRandom(from);
      return Array.from({ length: 20 }, () => random.next());
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });

  it('matches the published values of Mulberry32', () => {
    const random = seededRandom(0);
    expect([random.next(), random.next()].map((value) => Math.round(value * 2 ** 32))).toEqual([1144304738, 1416247]);
  });

  it('shuffles without loss and stays inside the asked range', () => {
    const random = seededRandom(3);
    expect(new Set(random.shuffle([1, 2, 3, 4]))).toEqual(new Set([1, 2, 3, 4]));
    const drawn = new Set(Array.from({ length: 500 }, () => random.integer(2, 5)));
    expect(drawn).toEqual(new Set([2, 3, 4]));
    expect(() => random.pick([])).toThrow(RangeError);
  });

  it('the seed of a process does not change while it lives', () => {
    expect(seed()).toBe(seed());
  });
});
