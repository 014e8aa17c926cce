import { type AcquireRequest, MemoryLockStore } from '@lockstep/lock';
import { type Actor, explore } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';

/** Who gives the waiting up. */
const LEAVER = 'leaver';
const READER = Number.POSITIVE_INFINITY;

/** One key of a memory store, who waits for it and holds it in which way, and what must stay true. */
class SharingModel {
  private readonly store = new MemoryLockStore();
  /** In the order of their coming. */
  private readonly waiting: string[] = [];
  private readonly holding = new Map<string, number>();
  readonly leaver = new AbortController();
  private violation: string | undefined;

  actor(name: string, capacity: number, signal?: AbortSignal): Actor {
    return async (step) => {
      await step('ask');
      this.waiting.push(name);
      try {
        await this.store.acquire(request(name, capacity, signal));
      } catch {
        this.leave(name);
        return;
      }
      this.enter(name, capacity);
      await step('work');
      this.holding.delete(name);
      await this.store.release([{ key: 'k', token: name, deadline: 0 }]);
    };
  }

  leaving(): Actor {
    return async (step) => {
      await step('give up');
      // Its place is free at once, though it hears so after those who were behind it.
      this.leave(LEAVER);
      this.leaver.abort(new Error('gone'));
    };
  }

  /** Whoever asked and did not leave is in the queue or holds the key, by the store's word. */
  async check(): Promise<void> {
    if (this.violation) throw new Error(this.violation);
    const { holders, waiters } = await this.store.inspect('k');
    const known = `${holders.length} hold and ${waiters} wait`;
    if (holders.length !== this.holding.size || waiters !== this.waiting.length)
      throw new Error(`the store says that ${known}: ${[...this.holding.keys()]} hold, ${this.waiting} wait`);
    if (holders.length === 0 && waiters > 0) throw new Error(`nobody holds the key, and ${waiters} wait`);
  }

  checkEnd(): void {
    if (Reflect.get(this.store, 'locks').size > 0) throw new Error('the store remembers a free lock');
  }

  private enter(name: string, capacity: number): void {
    const [first] = this.waiting;
    if (first !== name) this.violation ??= `${name} was served before ${first}`;
    this.leave(name);
    this.holding.set(name, capacity);
    const limits = [...this.holding.values()];
    if (limits.length > Math.min(...limits)) this.violation ??= `${[...this.holding.keys()]} hold the key at once`;
  }

  private leave(name: string): void {
    const index = this.waiting.indexOf(name);
    if (index >= 0) this.waiting.splice(index, 1);
  }
}

function request(token: string, capacity: number, signal: AbortSignal | undefined): AcquireRequest {
  return { key: 'k', token, ttlMs: 300_000, waitMs: 300_000, capacity, fairness: 'fifo', signal };
}

describe('those who share a key of the memory store', () => {
  it('are served in the order of their coming, never a writer beside another, whoever leaves the queue', async () => {
    const report = await explore({
      name: 'readers and writers',
      setup: () => new SharingModel(),
      actors: (model) => ({
        r1: model.actor('r1', READER),
        w: model.actor(LEAVER, 1, model.leaver.signal),
        r2: model.actor('r2', READER),
        w2: model.actor('w2', 1),
        client: model.leaving(),
      }),
      invariant: (model) => model.check(),
      finalInvariant: (model) => model.checkEnd(),
      maxSchedules: 700,
      randomSchedules: 300,
    });
    expect(report.schedules).toBeGreaterThanOrEqual(1_000);
  });

  it('are never more than there are permits', async () => {
    const report = await explore({
      name: 'permits',
      setup: () => new SharingModel(),
      actors: (model) => ({
        a: model.actor('a', 2),
        b: model.actor(LEAVER, 2, model.leaver.signal),
        c: model.actor('c', 2),
        w: model.actor('w', 1),
        client: model.leaving(),
      }),
      invariant: (model) => model.check(),
      finalInvariant: (model) => model.checkEnd(),
      maxSchedules: 700,
      randomSchedules: 300,
    });
    expect(report.schedules).toBeGreaterThanOrEqual(1_000);
  });
});
