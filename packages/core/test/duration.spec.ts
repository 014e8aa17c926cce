import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import { describe, expect, it } from 'vitest';

describe('durationMs', () => {
  it.each<[Duration, number]>([
    [0, 0],
    [250, 250],
    ['250ms', 250],
    ['1.5s', 1_500],
    ['30s', 30_000],
    ['5m', 300_000],
    ['24h', 86_400_000],
    ['14d', 1_209_600_000],
    ['0.4ms', 0],
    [10.6, 11],
  ])('reads %s as %i ms', (value, ms) => {
    expect(durationMs(value, 'ttl')).toBe(ms);
  });

  it.each([
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    '',
    '5',
    's',
    '-5s',
    '5 s',
    '1e3s',
    '.5s',
    '5.s',
    '5S',
    '5w',
    ' 5s',
    '5s ',
    `${'9'.repeat(400)}d`,
    null,
    undefined,
    {},
    [5],
    5n,
    true,
  ])('refuses %s, naming option and value', (value) => {
    const read = () => durationMs(value as Duration, 'lock.ttl');
    expect(read).toThrow(ConfigurationError);
    expect(read).toThrow(/Option 'lock\.ttl' is .*; expected a duration such as '30s'/s);
  });

  it('keeps to the bounds, whose ends belong to the range', () => {
    const bounds = { minMs: 100, maxMs: 1_000 };
    expect(durationMs(100, 'ttl', bounds)).toBe(100);
    expect(durationMs('1s', 'ttl', bounds)).toBe(1_000);
    expect(() => durationMs(99.9, 'ttl', bounds)).toThrow(
      "Option 'ttl' is 99.9; expected a duration from 100 ms to 1000 ms.",
    );
    expect(() => durationMs('1001ms', 'ttl', bounds)).toThrow("Option 'ttl' is '1001ms'");
    expect(() => durationMs(-1, 'ttl')).toThrow("Option 'ttl' is -1; expected a duration of at least 0 ms.");
  });
});
