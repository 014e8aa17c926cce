import 'reflect-metadata';
import { currentLease, type Lease, LockReentryError } from '@lockstep/lock';
import { eventually } from '@lockstep/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { ScriptedStore } from './support/scripted-store.js';
import { blockEventLoop } from './support/time.js';

const TTL_MS = 300;
let store: ScriptedStore;
let running: LockApp;
let requests: number;

beforeEach(async () => {
  store = new ScriptedStore();
  requests = 0;
  store.onAcquire = (request) => {
    requests += 1;
    return store.real.acquire(request);
  };
  running = await startLockApp({ ttl: TTL_MS, wait: '2s' }, { useFactory: () => store });
});
afterEach(() => running.app.close());

function gate(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe('code that runs under a lock', () => {
  it('gets it once more without asking the store, with the same fence', async () => {
    await running.locks.using('k', {}, async (outer) => {
      await running.locks.using('k', {}, async (inner) => {
        expect([inner.fence, inner.token, inner.deadline]).toEqual([outer.fence, outer.token, outer.deadline]);
        expect(currentLease()).toBe(inner);
      });
      expect((await running.locks.acquire('k')).fence).toBe(outer.fence);
      expect((await running.locks.tryAcquire('k'))?.fence).toBe(outer.fence);
      expect(requests).toBe(1);
    });
  });

  it('leaves the lock with the outer call when the inner one is done', async () => {
    await running.locks.using('k', {}, async (outer) => {
      const inner = await running.locks.acquire('k');
      await inner.extend();
      await inner.release();
      expect(inner.isHeld()).toBe(false);
      expect(() => inner.assertHeld()).toThrow('it has been given back');
      expect(outer.isHeld()).toBe(true);
      expect((await store.real.inspect('k')).holders).toHaveLength(1);
    });
    expect((await store.real.inspect('k')).holders).toHaveLength(0);
  });

  it('shares the hold among the branches of a Promise.all', async () => {
    await running.locks.using('k', {}, async ({ fence }) => {
      const branch = (): Promise<bigint> => running.locks.using('k', {}, async (lease) => lease.fence);
      expect(await Promise.all([branch(), branch(), branch()])).toEqual([fence, fence, fence]);
    });
    expect(requests).toBe(1);
  });

  it('does not share it with code beside it', async () => {
    await running.locks.using('k', {}, async () => {
      await running.locks.using('other', {}, async () => undefined);
    });
    const first = gate();
    const holder = running.locks.using('k', {}, () => first.opened);
    expect(await running.locks.tryAcquire('k')).toBeUndefined();
    first.open();
    await holder;
  });

  it.each([
    ['read', 'exclusive', 'as read, which does not become exclusive'],
    [{ permits: 3 }, 'read', 'as one of 3 permits, which does not become read'],
  ] as const)('is refused at once where %j would have to become %j', async (outer, inner, reason) => {
    const work = running.locks.using('k', { mode: outer }, () => running.locks.acquire('k', { mode: inner }));
    await expect(work).rejects.toThrow(LockReentryError);
    await expect(work).rejects.toThrow(reason);
  });

  it.each([
    ['exclusive', 'read'],
    ['write', { permits: 2 }],
    ['read', 'read'],
    [{ permits: 2 }, { permits: 2 }],
  ] as const)('gets %j once more as %j', async (outer, inner) => {
    await running.locks.using('k', { mode: outer }, () => running.locks.using('k', { mode: inner }, async () => 1));
    expect(requests).toBe(1);
  });

  it('hears of the loss of the outer lease by its own signal, and tells of it', async () => {
    const work = running.locks.using('k', {}, async () => {
      const inner = running.locks.using('k', {}, async (lease) => {
        const { signal } = lease;
        blockEventLoop(TTL_MS + 50);
        expect(lease.isHeld()).toBe(false);
        expect(signal.reason).toMatchObject({ code: 'LOCK_LOST', loss: 'expired' });
        return 'done';
      });
      await expect(inner).rejects.toMatchObject({ code: 'LOCK_LOST', loss: 'expired', result: 'done' });
    });
    await expect(work).rejects.toMatchObject({ code: 'LOCK_LOST' });
  });

  it('is not told of a loss that came after its own part was done', async () => {
    const work = running.locks.using('k', {}, async () => {
      const inner = await running.locks.acquire('k');
      const { signal } = inner;
      await inner.release();
      blockEventLoop(TTL_MS + 50);
      expect(currentLease()?.isHeld()).toBe(false);
      expect(signal.aborted).toBe(false);
    });
    await expect(work).rejects.toMatchObject({ loss: 'expired' });
  });

  it('takes a lock that was lost anew', async () => {
    const work = running.locks.using('k', {}, async (outer) => {
      blockEventLoop(TTL_MS + 50);
      const again = await running.locks.acquire('k');
      expect(again.fence).toBeGreaterThan(outer.fence);
      await again.release();
    });
    await expect(work).rejects.toMatchObject({ loss: 'expired' });
  });
});

describe('work that outlives the lock it shared', () => {
  it('has lost it: its lease says so, its signal fires, and its call does not succeed', async () => {
    const { opened, open } = gate();
    let lease: Lease | undefined;
    let signal: AbortSignal | undefined;
    let inner: Promise<unknown> = Promise.resolve();
    await running.locks.using('k', {}, async () => {
      inner = running.locks.using('k', {}, async (shared) => {
        lease = shared;
        signal = shared.signal;
        await opened;
        return 'late';
      });
      await eventually(() => expect(lease).toBeDefined());
    });
    const told = expect(inner).rejects.toMatchObject({ code: 'LOCK_LOST', loss: 'released', result: 'late' });
    expect(lease?.isHeld()).toBe(false);
    expect(signal?.reason).toMatchObject({ code: 'LOCK_LOST', loss: 'released' });
    open();
    await told;
  });

  it('takes the lock anew where it asks again, and waits for who has it', async () => {
    const { opened, open } = gate();
    let child: Promise<bigint> = Promise.resolve(0n);
    const outer = await running.locks.using('k', {}, async (lease) => {
      child = opened.then(() => running.locks.using('k', {}, async ({ fence }) => fence));
      return lease.fence;
    });
    const next = await running.locks.acquire('k');
    open();
    await eventually(async () => expect((await store.real.inspect('k')).waiters).toBe(1), { intervalMs: 2 });
    await next.release();
    expect(next.fence).toBeGreaterThan(outer);
    expect(await child).toBeGreaterThan(next.fence);
  });

  it('sees the lease that it outlived as no longer held', async () => {
    let later: Promise<boolean | undefined> = Promise.resolve(true);
    const { opened, open } = gate();
    await running.locks.using('k', {}, async () => {
      later = opened.then(() => currentLease('k')?.isHeld());
    });
    open();
    expect(await later).toBe(false);
  });
});

describe('what happens to one lock while code runs under another', () => {
  it('is told outside of both, so that a listener is not given a lock that somebody works under', async () => {
    const seen: string[] = [];
    running.locks.subscribe(({ type, key }) => seen.push(`${type} ${key} under ${currentLease()?.key}`));
    await running.locks.using('a', { ttl: '60s' }, async () => {
      const lease = await running.locks.acquire('b');
      await eventually(() => expect(seen).toContain('extended b under undefined'), { intervalMs: 5 });
      await lease.release();
    });
    expect(seen.filter((line) => !line.endsWith('under undefined'))).toEqual([]);
  });

  it('aborts outside of both: of a lease that is stolen, and of one that is found to be over', async () => {
    const seen: string[] = [];
    const [stolen, over] = [await running.locks.acquire('stolen'), await running.locks.acquire('over')];
    for (const { signal, key } of [stolen, over]) {
      signal.addEventListener('abort', () => seen.push(`${key} under ${currentLease()?.key}`));
    }
    await running.locks.using('a', { ttl: '60s' }, async () => {
      await running.locks.forceRelease('stolen');
      blockEventLoop(TTL_MS + 50);
      expect(over.isHeld()).toBe(false);
    });
    expect(seen).toEqual(['stolen under undefined', 'over under undefined']);
  });
});
