import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { type Actor, explore, type Step } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { ScriptedStore } from './support/scripted-store.js';

/** The step of whoever asks the store: each request is a step of its actor's schedule. */
const steps = new AsyncLocalStorage<Step>();

const store = new ScriptedStore();
let running: LockApp;
beforeAll(async () => {
  running = await startLockApp({ ttl: '5m', wait: '5m' }, { useFactory: () => store });
  store.onAcquire = async (request) => {
    await steps.getStore()?.(`ask for ${request.key.at(-1)}`);
    return store.real.acquire(request);
  };
});
afterAll(() => running.app.close());

/** A few keys, who believes to hold which, and what must stay true. */
class KeysModel {
  private readonly id = randomUUID();
  private readonly holders = new Map<string, string>();
  readonly used = new Set<string>();
  done = 0;
  violation: string | undefined;

  actor(name: string, names: readonly string[]): Actor {
    const keys = names.map((key) => `${this.id}:${key}`);
    for (const key of keys) this.used.add(key);
    return (step) =>
      steps.run(step, async () => {
        const set = await running.locks.acquireAll(keys);
        for (const key of keys) this.enter(key, name);
        await step('work');
        for (const key of keys) this.holders.delete(key);
        await set.release();
        this.done += 1;
      });
  }

  /** Waits at most for nothing, so it is refused whenever another is at it. */
  hasty(name: string, names: readonly string[]): Actor {
    const keys = names.map((key) => `${this.id}:${key}`);
    return (step) =>
      steps.run(step, async () => {
        const set = await running.locks.acquireAll(keys, { wait: 0 }).catch(() => undefined);
        if (!set) return;
        for (const key of keys) this.enter(key, name);
        await step('work in haste');
        for (const key of keys) this.holders.delete(key);
        await set.release();
      });
  }

  check(): void {
    if (this.violation) throw new Error(this.violation);
  }

  /** Nobody waits for ever, and nothing is left of anybody, also of those who were refused midway. */
  async checkEnd(expected: number): Promise<void> {
    if (this.done !== expected) throw new Error(`${this.done} of ${expected} were served`);
    for (const key of this.used) {
      const { holders, waiters } = await store.real.inspect(key);
      if (holders.length + waiters > 0) throw new Error(`${key.at(-1)} is still held or waited for`);
    }
  }

  private enter(key: string, name: string): void {
    const other = this.holders.get(key);
    if (other) this.violation ??= `${name} and ${other} hold ${key.at(-1)} at once`;
    this.holders.set(key, name);
  }
}

const WAYS = ['one by one', 'in one step where they are free'] as const;

describe.each(WAYS)('callers with overlapping keys that are taken %s', (way) => {
  beforeAll(() => {
    if (way === 'one by one') Reflect.deleteProperty(store, 'acquirePrefix');
    else {
      store.acquirePrefix = async (requests) => {
        await steps.getStore()?.(`ask for ${requests.length}`);
        return store.real.acquirePrefix(requests);
      };
    }
  });

  it('never wait for each other: two with the same keys named in other orders', async () => {
    const report = await explore({
      name: `two callers ${way}`,
      setup: () => new KeysModel(),
      actors: (model) => ({ x: model.actor('x', ['a', 'b', 'c']), y: model.actor('y', ['c', 'b', 'a']) }),
      invariant: (model) => model.check(),
      finalInvariant: (model) => model.checkEnd(2),
    });
    expect(report.exhaustive).toBe(true);
    expect(report.schedules).toBeGreaterThan(5);
  });

  it('never wait for each other in a ring, and hold nothing in part in the end', async () => {
    const report = await explore({
      name: `a ring of callers ${way}`,
      setup: () => new KeysModel(),
      actors: (model) => ({
        x: model.actor('x', ['a', 'b']),
        y: model.actor('y', ['b', 'c']),
        z: model.actor('z', ['c', 'a']),
        h: model.hasty('h', ['b', 'a', 'c']),
      }),
      invariant: (model) => model.check(),
      finalInvariant: (model) => model.checkEnd(3),
      maxSchedules: 200,
      randomSchedules: 200,
    });
    expect(report.truncated).toBe(0);
  });
});
