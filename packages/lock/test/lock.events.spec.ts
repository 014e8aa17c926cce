import 'reflect-metadata';
import { StoreUnavailableError } from '@lockstep/core';
import type { LockEvent } from '@lockstep/lock';
import { eventually } from '@lockstep/testing';
import { metrics } from '@opentelemetry/api';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { ScriptedStore } from './support/scripted-store.js';
import { blockEventLoop, passed } from './support/time.js';

const TTL_MS = 300;
const unavailable = new StoreUnavailableError({ store: 'scripted', operation: 'lock', outcome: 'unknown' });

let store: ScriptedStore;
let running: LockApp;

beforeEach(async () => {
  store = new ScriptedStore();
  running = await startLockApp({ ttl: TTL_MS, wait: 0 }, { useFactory: () => store });
});
afterEach(() => running.app.close());

describe('a listener', () => {
  let heard: LockEvent[];
  beforeEach(() => {
    heard = [];
    running.locks.subscribe((event) => heard.push(event));
  });

  it('hears who got a lock, who did not, and that it was given back', async () => {
    const lease = await running.locks.acquire('k');
    await running.locks.tryAcquire('k');
    await lease.release();
    const { fence } = lease;
    expect(heard).toMatchObject([
      { type: 'acquired', key: 'k', store: 'scripted', fence, waitedMs: expect.any(Number) },
      { type: 'busy', key: 'k', store: 'scripted', waitedMs: expect.any(Number) },
      { type: 'released', key: 'k', store: 'scripted', fence },
    ]);
  });

  it('hears of every extension', async () => {
    const lease = await running.locks.acquire('k');
    await eventually(() => expect(heard.filter(({ type }) => type === 'extended')).toHaveLength(2), { intervalMs: 5 });
    await lease.release();
  });

  it('hears once why a lock was lost, also of one that was found out by asking', async () => {
    const lease = await running.locks.acquire('k');
    blockEventLoop(TTL_MS + 50);
    expect([lease.isHeld(), lease.isHeld()]).toEqual([false, false]);
    expect(heard.filter(({ type }) => type === 'lost')).toMatchObject([{ key: 'k', loss: 'expired' }]);
  });

  it('hears why a lock could not be given back', async () => {
    store.onRelease = async (requests) => requests.map(() => ({ status: 'failed', error: unavailable }));
    await (await running.locks.acquire('k')).release();
    expect(heard.at(-1)).toMatchObject({ type: 'release-failed', key: 'k', cause: unavailable });
  });

  it('hears of no lease that was granted too late to be handed out', async () => {
    store.onAcquire = async (request) => {
      const grant = await store.real.acquire(request);
      return grant.status === 'granted' ? { ...grant, deadline: 0 } : grant;
    };
    await expect(running.locks.acquire('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(heard).toEqual([]);
  });

  it('that throws or rejects is an incident, and touches neither the lock nor the other listeners', async () => {
    running.locks.subscribe(() => {
      throw new Error('listener');
    });
    const rejecting: () => unknown = async () => {
      throw new Error('async listener');
    };
    running.locks.subscribe(rejecting);
    const late: string[] = [];
    running.locks.subscribe(({ type }) => late.push(type));
    expect(await running.locks.using('k', {}, async () => 7)).toBe(7);
    await passed(5);
    expect(late).toEqual(['acquired', 'released']);
    expect(running.codes).toEqual(Array.from({ length: 4 }, () => 'LOCK_LISTENER_FAILED'));
  });

  it('hears nothing once it has ended', async () => {
    const early: string[] = [];
    const end = running.locks.subscribe(({ type }) => early.push(type));
    const lease = await running.locks.acquire('k');
    end();
    await lease.release();
    expect(early).toEqual(['acquired']);
  });
});

describe('the metrics', () => {
  afterEach(() => metrics.disable());

  /** As much of an SDK as the API asks for. */
  function registerMetrics(): { name: string; value: number; attributes: object }[] {
    const noted: { name: string; value: number; attributes: object }[] = [];
    const instrument = (name: string) => {
      const note = (value: number, attributes: object): number => noted.push({ name, value, attributes });
      return { add: note, record: note };
    };
    const meter = { createCounter: instrument, createHistogram: instrument };
    metrics.setGlobalMeterProvider({ getMeter: () => meter } as never);
    return noted;
  }

  it('tell in seconds how long callers waited, with what outcome, and how long they held', async () => {
    const noted = registerMetrics();
    const lease = await running.locks.acquire('secret-key');
    await running.locks.tryAcquire('secret-key', { wait: 40 });
    await lease.release();
    const durations = noted.filter(({ name }) => /wait|hold/.test(name));
    expect(durations).toMatchObject([
      { name: 'lockstep.lock.wait', attributes: { store: 'scripted', outcome: 'acquired' } },
      { name: 'lockstep.lock.wait', attributes: { store: 'scripted', outcome: 'busy' } },
      { name: 'lockstep.lock.hold', attributes: { store: 'scripted' } },
    ]);
    const [acquired, busy, hold] = durations.map(({ value }) => value);
    expect(acquired).toBeLessThan(busy ?? 0);
    expect(busy).toBeGreaterThanOrEqual(0.04);
    expect(hold).toBeGreaterThanOrEqual(0.04);
    expect(hold).toBeLessThan(5);
  });

  it('count what happened, and never name a key', async () => {
    const noted = registerMetrics();
    const lease = await running.locks.acquire('secret-key');
    await running.locks.tryAcquire('secret-key');
    blockEventLoop(TTL_MS + 50);
    await lease.release();
    const counts = noted.filter(({ name }) => !/wait|hold/.test(name));
    expect(counts).toEqual([
      { name: 'lockstep.lock.acquired', value: 1, attributes: { store: 'scripted' } },
      { name: 'lockstep.lock.busy', value: 1, attributes: { store: 'scripted' } },
      { name: 'lockstep.lock.lost', value: 1, attributes: { store: 'scripted', loss: 'expired' } },
    ]);
    expect(JSON.stringify(noted)).not.toContain('secret');
  });
});
