import { PeriodicTask, type PeriodicTaskInit } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { Logger } from '@nestjs/common';
import { afterEach, describe, expect, it, vi } from 'vitest';

const NEVER_MS = 3_600_000;

interface Gate {
  open(result?: 'again' | Error): void;
}

describe('PeriodicTask', () => {
  const tasks: PeriodicTask[] = [];
  const errors: unknown[] = [];

  function task(init: Partial<PeriodicTaskInit>): PeriodicTask {
    const made = new PeriodicTask({
      name: 'test',
      everyMs: NEVER_MS,
      run: async () => undefined,
      onError: (error) => errors.push(error),
      ...init,
    });
    tasks.push(made);
    return made;
  }

  /** A pass that ends when the test says so. */
  function gated(): { run: PeriodicTaskInit['run']; gates: Gate[]; most: () => number } {
    const gates: Gate[] = [];
    let running = 0;
    let most = 0;
    const run = async () => {
      most = Math.max(most, ++running);
      const result = await new Promise<'again' | undefined | Error>((open) => gates.push({ open }));
      running -= 1;
      if (result instanceof Error) throw result;
      return result;
    };
    return { run, gates, most: () => most };
  }

  afterEach(async () => {
    await Promise.all(tasks.splice(0).map((made) => made.stop()));
    errors.length = 0;
  });

  it('begins with a pass at once, and a second start changes nothing', async () => {
    const { run, gates, most } = gated();
    const made = task({ run });
    made.start();
    made.start();
    expect(gates).toHaveLength(1);
    gates[0]?.open();
    await turn();
    expect([gates.length, most()]).toEqual([1, 1]);
  });

  it('never runs two passes at a time: a wake-up during a pass makes one more, right after it', async () => {
    const { run, gates, most } = gated();
    const made = task({ run });
    made.start();
    for (let index = 0; index < 5; index++) made.wake();
    await turn();
    expect(gates).toHaveLength(1);
    gates[0]?.open();
    await eventually(() => expect(gates).toHaveLength(2));
    gates[1]?.open();
    await turn();
    expect([gates.length, most()]).toEqual([2, 1]);
  });

  it('misses no wake-up, at whichever moment around the end of a pass it comes', async () => {
    for (let moment = 0; moment < 12; moment++) {
      let seen = 0;
      let wanted = 0;
      const made = task({
        run: async () => {
          seen = wanted;
          return undefined;
        },
      });
      made.start();
      for (let step = 0; step < moment; step++) await (step % 3 === 2 ? turn() : Promise.resolve());
      wanted = 1;
      made.wake();
      await eventually(() => expect(seen).toBe(1), { timeoutMs: 1_000 });
    }
  });

  it('goes on by itself after the pause', async () => {
    let passes = 0;
    task({ everyMs: 5, run: async () => void passes++ }).start();
    await eventually(() => expect(passes).toBeGreaterThan(3));
  });

  it('waits, and does not spin, for a pause longer than a timer of Node can be', async () => {
    for (const everyMs of [Number.POSITIVE_INFINITY, 2 ** 40]) {
      let passes = 0;
      const made = task({ everyMs, run: async () => void passes++ });
      made.start();
      for (let index = 0; index < 50; index++) await turn();
      expect(passes).toBe(1);
      made.wake();
      await eventually(() => expect(passes).toBe(2));
    }
  });

  it("lets the event loop turn between passes that say 'again'", async () => {
    let passes = 0;
    task({
      run: async () => {
        passes += 1;
        return passes < 1_000 ? 'again' : undefined;
      },
    }).start();
    await turn();
    expect(passes).toBeLessThan(10);
    await eventually(() => expect(passes).toBe(1_000));
  });

  it('stops only after the pass has ended, tells it to end, and begins no other', async () => {
    let seen: AbortSignal | undefined;
    const { run, gates } = gated();
    const made = task({
      run: (signal) => {
        seen = signal;
        return run(signal);
      },
    });
    made.start();
    made.wake();
    let stopped = false;
    const stopping = made.stop().then(() => {
      stopped = true;
    });
    await turn();
    expect([seen?.aborted, stopped]).toEqual([true, false]);
    gates[0]?.open('again');
    await stopping;
    made.wake();
    made.start();
    await turn();
    expect(gates).toHaveLength(1);
  });

  it('stops at once while it waits or backs off, and before it was started', async () => {
    await task({}).stop();
    const waiting = task({});
    waiting.start();
    await turn();
    await waiting.stop();
    const backingOff = task({ run: () => Promise.reject(new Error('down')) });
    backingOff.start();
    await turn();
    await backingOff.stop();
    expect(errors).toHaveLength(1);
  });

  it('tries again soon after a failure, though everyMs is long, and tells of each', async () => {
    let passes = 0;
    task({
      run: async () => {
        if (++passes < 3) throw new Error(`down ${passes}`);
        return undefined;
      },
    }).start();
    await eventually(() => expect(passes).toBe(3), { timeoutMs: 2_000 });
    expect(errors.map(String)).toEqual(['Error: down 1', 'Error: down 2']);
  });

  it('does not let wake-ups hammer on what is down', async () => {
    let passes = 0;
    const made = task({
      run: async () => {
        passes += 1;
        throw new Error('down');
      },
    });
    made.start();
    for (let index = 0; index < 50; index++) {
      await turn();
      made.wake();
    }
    expect(passes).toBe(1);
    await eventually(() => expect(passes).toBe(2));
  });

  it('survives a run that throws at once and an onError that throws', async () => {
    const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue();
    let passes = 0;
    const made = task({
      everyMs: 1,
      run: () => {
        passes += 1;
        throw new Error('not even a promise');
      },
      onError: () => {
        throw new Error('onError itself');
      },
    });
    made.start();
    await eventually(() => expect(passes).toBeGreaterThan(2));
    await made.stop();
    expect(logged).toHaveBeenCalledWith('onError of the task test threw', expect.any(Error));
    logged.mockRestore();
  });

  it('does not call it a failure when a pass gives up because it was told to, but does when it fails then', async () => {
    const giveUp = (make: (signal: AbortSignal) => unknown) => (signal: AbortSignal) =>
      new Promise<undefined>((_resolve, reject) => signal.addEventListener('abort', () => reject(make(signal))));
    const obedient = task({ run: giveUp((signal) => signal.reason) });
    obedient.start();
    await obedient.stop();
    expect(errors).toEqual([]);
    const failing = task({ run: giveUp(() => new Error('could not release')) });
    failing.start();
    await failing.stop();
    expect(errors.map(String)).toEqual(['Error: could not release']);
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
