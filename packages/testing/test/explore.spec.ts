import { type Exploration, explore, InvariantViolation } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';

interface Counter {
  value: number;
  done: number;
}

function counter(increment: 'read-then-write' | 'compare-and-set', actors = 2): Exploration<Counter> {
  return {
    name: increment,
    seed: 1,
    setup: () => ({ value: 0, done: 0 }),
    actors: (world) =>
      Object.fromEntries(
        Array.from({ length: actors }, (_, index) => [
          `p${index}`,
          async (step) => {
            for (;;) {
              await step('read');
              const read = world.value;
              await step('write');
              if (increment === 'compare-and-set' && world.value !== read) continue;
              world.value = read + 1;
              world.done += 1;
              return;
            }
          },
        ]),
      ),
    finalInvariant: (world) => expect(world.value).toBe(world.done),
  };
}

async function violationOf<T>(model: Exploration<T>): Promise<InvariantViolation> {
  const error = await explore(model).catch((reason: unknown) => reason);
  if (error instanceof InvariantViolation) return error;
  throw new Error(`Expected an InvariantViolation, got ${String(error)}`);
}

describe('explore()', () => {
  it('finds the lost update and prints a schedule that finds it again', async () => {
    const violation = await violationOf(counter('read-then-write'));
    expect(violation.message).toContain("schedule: 'p0 p0 p1 p1");
    expect(violation.message).toContain('seed 1');
    const again = await violationOf({ ...counter('read-then-write'), schedule: violation.schedule });
    expect(again.trace).toEqual(violation.trace);
  });

  it('proves the compare-and-set version over all interleavings', async () => {
    const report = await explore({ ...counter('compare-and-set', 2) });
    expect(report).toMatchObject({ exhaustive: true, truncated: 0 });
    expect(report.schedules).toBe(20);
  });

  it('visits each interleaving exactly once', async () => {
    const seen: string[] = [];
    const actor = (trail: string[], name: string) => async (step: (label: string) => Promise<void>) => {
      trail.push(`${name}1`);
      await step('second');
      trail.push(`${name}2`);
    };
    const report = await explore<string[]>({
      name: 'count',
      seed: 1,
      setup: () => [],
      actors: (trail) => ({ a: actor(trail, 'a'), b: actor(trail, 'b') }),
      finalInvariant: (trail) => seen.push(trail.join(' ')),
    });
    expect(report.schedules).toBe(6); // 4 instructions, 2 of each: 4! / (2! 2!)
    expect(new Set(seen).size).toBe(6);
  });

  it('goes on at random, reproducibly, where the tree is too large', async () => {
    const large = { ...counter('compare-and-set', 4), maxSchedules: 20, randomSchedules: 30 };
    const [first, second] = [await explore(large), await explore(large)];
    expect(first).toMatchObject({ exhaustive: false, schedules: 50 });
    expect(second).toEqual(first);
    await expect(explore({ ...counter('read-then-write', 4), maxSchedules: 1, randomSchedules: 50 })).rejects.toThrow(
      InvariantViolation,
    );
  });

  it('finds what only a crash breaks', async () => {
    const model: Exploration<{ locked: boolean }> = {
      name: 'a lock without lease',
      seed: 1,
      setup: () => ({ locked: false }),
      actors: (world) => ({
        holder: async (step) => {
          await step('acquire');
          world.locked = true;
          await step('release');
          world.locked = false;
        },
      }),
      finalInvariant: (world) => !world.locked,
    };
    expect((await explore(model)).exhaustive).toBe(true);
    const violation = await violationOf({ ...model, crashes: true });
    expect(violation.schedule).toBe('holder holder !holder');
    expect(violation.trace.at(-1)).toBe('CRASH holder: release');
    // The same world, once it notices that the connection of the dead closed.
    const onCrash = (world: { locked: boolean }): void => {
      world.locked = false;
    };
    expect((await explore({ ...model, crashes: true, onCrash })).exhaustive).toBe(true);
  });

  it('lets others go on while one waits for them, and takes generators', async () => {
    interface Gate {
      open: () => void;
      opened: Promise<void>;
      log: string[];
    }
    const report = await explore<Gate>({
      name: 'gate',
      seed: 1,
      setup: () => {
        let open = (): void => undefined;
        const opened = new Promise<void>((resolve) => {
          open = resolve;
        });
        return { open, opened, log: [] };
      },
      actors: (world) => ({
        async *waiter() {
          await world.opened;
          world.log.push('through');
          yield 'after the gate';
        },
        opener: async (step) => {
          await step('open');
          world.log.push('open');
          world.open();
        },
      }),
      finalInvariant: (world) => expect(world.log).toEqual(['open', 'through']),
    });
    expect(report.exhaustive).toBe(true);
  });

  it('calls it a deadlock when all wait for one another', async () => {
    const forever = async (step: (label: string) => Promise<void>) => {
      await step('wait');
      await new Promise(() => undefined);
    };
    const model = {
      name: 'dead',
      seed: 1,
      setup: () => 0,
      actors: () => ({ a: forever, b: forever }),
      deadlockAfterMs: 20,
    };
    expect((await violationOf(model)).message).toContain('deadlock: a (after wait), b (after wait)');
  });

  it('checks the invariant after every step and reports an actor that throws', async () => {
    const model = { ...counter('compare-and-set'), invariant: (world: Counter) => world.value < 1 };
    expect((await violationOf(model)).trace).toHaveLength(3);
    const failing = {
      name: 'x',
      seed: 1,
      setup: () => 0,
      actors: () => ({ a: () => Promise.reject(new Error('boom')) }),
    };
    expect((await violationOf(failing)).message).toContain('a failed: Error: boom');
  });

  it('refuses a model that is not repeatable instead of exploring nonsense', async () => {
    let worlds = 0;
    const idle = async (step: (label: string) => Promise<void>) => step('once');
    const model = {
      name: 'moody',
      seed: 1,
      setup: () => (worlds += 1),
      actors: (world: number): Record<string, typeof idle> => (world === 1 ? { a: idle, b: idle } : { a: idle }),
    };
    await expect(explore(model)).rejects.toThrow('behaves differently');
  });
});
