import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { RetryScheduler, WakeUpHandler } from '../scheduling/retry-scheduler.js';

/** Two ends of one scheduler; a driver that lives in one process gives the same object twice. */
export interface SchedulerEnds {
  /** Schedules and cancels. */
  readonly owner: RetryScheduler;
  /** Handles. */
  readonly waker: RetryScheduler;
  /** Ends both and removes what the test left at the server. */
  dispose(): Promise<void>;
}

export interface RetrySchedulerContract {
  /** The driver, for the title of the suite. */
  readonly name: string;
  open(): Promise<SchedulerEnds>;
  /** How late a wake-up may be at most. @default 5000 */
  readonly patienceMs?: number;
}

type Open = () => Promise<SchedulerEnds>;

/** What every {@link RetryScheduler} must keep. Call it in a spec file of the driver. */
export function describeRetrySchedulerContract(contract: RetrySchedulerContract): void {
  const patienceMs = contract.patienceMs ?? 5_000;
  const opened: SchedulerEnds[] = [];
  const open = async (): Promise<SchedulerEnds> => {
    const ends = await contract.open();
    opened.push(ends);
    return ends;
  };

  describe(`RetryScheduler contract: ${contract.name}`, () => {
    afterEach(async () => {
      for (const ends of opened.splice(0)) await ends.dispose();
    });
    waking(open, patienceMs);
    replacing(open, patienceMs);
    failing(open, patienceMs);
    closing(open, patienceMs);
  });
}

function waking(open: Open, patienceMs: number): void {
  it('wakes the handler for a row when it is due, and not before', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const rings = new Rings(patienceMs);
    await waker.handle(queue, rings.handler);
    const dueAt = Date.now() + 120;
    await owner.schedule({ queue, id: 'row-1', dueAt });
    await rings.untilCount(1);
    expect(rings.all[0]?.id).toBe('row-1');
    expect(rings.all[0]?.at).toBeGreaterThanOrEqual(dueAt);
  });

  it('takes the past for now', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const rings = new Rings(patienceMs);
    await waker.handle(queue, rings.handler);
    await owner.schedule({ queue, id: 'row-1', dueAt: 0 });
    await rings.untilCount(1);
  });

  it('keeps a wake-up until somebody handles its queue', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const rings = new Rings(patienceMs);
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() });
    await waker.handle(queue, rings.handler);
    await rings.untilCount(1);
  });

  it('runs the handler in the context of its subscription, not in that of whoever scheduled', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const context = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const rings = new Rings(patienceMs, async (count) => {
      seen.push(context.getStore());
      if (count === 1) throw new Error('once more');
    });
    await context.run('handling', () => waker.handle(queue, rings.handler));
    await context.run('scheduling', () => owner.schedule({ queue, id: 'row-1', dueAt: Date.now() }));
    await rings.untilCount(2);
    expect(seen).not.toContain('scheduling');
  });

  it('tells rows and queues apart, whatever their ids look like', async () => {
    const { owner, waker } = await open();
    const [queue, otherQueue] = [newQueue(), newQueue()];
    const [rings, otherRings] = [new Rings(patienceMs), new Rings(patienceMs)];
    await waker.handle(queue, rings.handler);
    await waker.handle(otherQueue, otherRings.handler);
    const ids = ['42', '0', 'a:b', '{x}', 'ü☃', 'x'.repeat(300), ' '];
    for (const id of ids) await owner.schedule({ queue, id, dueAt: Date.now() });
    await owner.schedule({ queue: otherQueue, id: '42', dueAt: Date.now() });
    await rings.untilCount(ids.length);
    await otherRings.untilCount(1);
    expect(new Set(rings.ids())).toEqual(new Set(ids));
    expect(otherRings.ids()).toEqual(['42']);
  });
}

function replacing(open: Open, patienceMs: number): void {
  it('rings only at the later time when a wake-up is put off', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const rings = new Rings(patienceMs);
    await waker.handle(queue, rings.handler);
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() + 500 });
    const dueAt = Date.now() + 900;
    await owner.schedule({ queue, id: 'row-1', dueAt });
    await rings.untilCount(1);
    expect(rings.all[0]?.at).toBeGreaterThanOrEqual(dueAt);
  });

  it('rings at the earlier time when a wake-up is brought forward', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const rings = new Rings(patienceMs);
    await waker.handle(queue, rings.handler);
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() + 3_600_000 });
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() + 20 });
    await rings.untilCount(1);
  });

  it('puts off a wake-up that is due and that nobody has taken yet', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const rings = new Rings(patienceMs);
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() });
    const dueAt = Date.now() + 400;
    await owner.schedule({ queue, id: 'row-1', dueAt });
    await waker.handle(queue, rings.handler);
    await rings.untilCount(1);
    expect(rings.all[0]?.at).toBeGreaterThanOrEqual(dueAt);
  });

  it('rings again for a row that its own handler schedules', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const rings = new Rings(patienceMs, async (count) => {
      if (count < 3) await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() + 20 });
    });
    await waker.handle(queue, rings.handler);
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() });
    await rings.untilCount(3);
  });

  it('does not ring for what was cancelled, and cancelling nothing is no error', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const rings = new Rings(patienceMs);
    await waker.handle(queue, rings.handler);
    await owner.cancel(queue, 'unknown');
    await owner.schedule({ queue, id: 'cancelled', dueAt: Date.now() + 500 });
    await owner.cancel(queue, 'cancelled');
    await owner.schedule({ queue, id: 'kept', dueAt: Date.now() + 600 });
    await rings.untilCount(1);
    expect(rings.ids()).toEqual(['kept']);
  });
}

function failing(open: Open, patienceMs: number): void {
  it('calls a handler that rejects again, after growing pauses', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const rings = new Rings(patienceMs, async (count) => {
      if (count < 4) throw new Error('not yet');
    });
    await waker.handle(queue, rings.handler);
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() });
    await rings.untilCount(4);
    const [first, second, third, fourth] = rings.all.map(({ at }) => at);
    expect(Number(second) - Number(first)).toBeGreaterThanOrEqual(10);
    expect(Number(fourth) - Number(third)).toBeGreaterThan(Number(second) - Number(first));
  });
}

function closing(open: Open, patienceMs: number): void {
  it('waits for the running handler when a subscription closes, and starts no other', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const gate = new Gate();
    const rings = new Rings(patienceMs, () => gate.opened);
    const subscription = await waker.handle(queue, rings.handler);
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() });
    await rings.untilCount(1);
    let isClosed = false;
    const closed = subscription.close().then(() => {
      isClosed = true;
    });
    await owner.schedule({ queue, id: 'row-2', dueAt: Date.now() });
    expect(isClosed).toBe(false);
    gate.open();
    await closed;
    expect(rings.ids()).toEqual(['row-1']);
  });

  it('leaves a queue to its other handlers when one of them closes', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const [staying, leaving] = [new Rings(patienceMs), new Rings(patienceMs)];
    await waker.handle(queue, staying.handler);
    const subscription = await waker.handle(queue, leaving.handler);
    await subscription.close();
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() });
    await staying.untilCount(1);
    expect(leaving.ids()).toEqual([]);
  });

  it('gives up waiting for a handler that hangs when the signal aborts, and tells it so', async () => {
    const { owner, waker } = await open();
    const queue = newQueue();
    const gate = new Gate();
    let signalled = false;
    const rings = new Rings(patienceMs, async (_, signal) => {
      signal.addEventListener('abort', () => {
        signalled = true;
      });
      await gate.opened;
    });
    const subscription = await waker.handle(queue, rings.handler);
    await owner.schedule({ queue, id: 'row-1', dueAt: Date.now() });
    await rings.untilCount(1);
    await subscription.close(AbortSignal.timeout(50));
    expect(signalled).toBe(true);
    gate.open();
  });
}

class Gate {
  open: () => void = () => undefined;
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}

class Rings {
  readonly all: { readonly id: string; readonly at: number }[] = [];

  constructor(
    private readonly patienceMs: number,
    private readonly then: (count: number, signal: AbortSignal) => Promise<void> = async () => undefined,
  ) {}

  readonly handler: WakeUpHandler = async (id, signal) => {
    this.all.push({ id, at: Date.now() });
    await this.then(this.all.length, signal);
  };

  ids(): string[] {
    return this.all.map(({ id }) => id);
  }

  untilCount(count: number): Promise<void> {
    const options = { timeout: this.patienceMs, interval: 10 };
    return vi.waitFor(() => expect(this.all.length).toBeGreaterThanOrEqual(count), options);
  }
}

function newQueue(): string {
  return `test.${randomBytes(5).toString('hex')}`;
}
