import { EventuallyTimeoutError, eventually } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';

describe('eventually()', () => {
  it('repeats until the assertion holds and returns its value', async () => {
    let tries = 0;
    const value = await eventually(
      () => {
        tries += 1;
        if (tries < 3) throw new Error('not yet');
        return tries;
      },
      { intervalMs: 1 },
    );
    expect(value).toBe(3);
  });

  it('gives the last failure and the elapsed time when the time is over', async () => {
    const failure = new Error('still 1');
    const attempt = eventually(() => Promise.reject(failure), { timeoutMs: 60, message: 'the queue drains' });
    await expect(attempt).rejects.toThrow(/^the queue drains: not so within \d+ ms; last failure: still 1$/);
    await expect(attempt).rejects.toMatchObject({ name: EventuallyTimeoutError.name, cause: failure });
  });

  it('gives up an assertion that hangs', async () => {
    const startedAt = performance.now();
    await expect(eventually(() => new Promise(() => undefined), { timeoutMs: 50 })).rejects.toThrow('did not end');
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });
});
