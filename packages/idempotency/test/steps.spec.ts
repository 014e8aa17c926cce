import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { StoreUnavailableError } from '@lockstep/core';
import {
  currentIdempotency,
  type IdempotencyModuleOptions,
  MemoryIdempotencyStore,
  NotApplied,
  OperationLostError,
  operationId,
} from '@lockstep/idempotency';
import { eventually } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterEach, describe, expect, it } from 'vitest';
import { openServiceApp, type ServiceApp } from './support/service-app.js';

const server = useRedis();
const opened: ServiceApp[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((app) => app.close()));
});

async function open(change: Partial<IdempotencyModuleOptions> = {}): Promise<ServiceApp> {
  const app = await openServiceApp(server, change);
  opened.push(app);
  return app;
}

function work(key: string = randomUUID()) {
  return { scope: 'test', operation: 'order', key, payload: 1 };
}

/** Stands still for ever, as a process that was paused or killed. */
const vanish = (): Promise<never> => new Promise(() => undefined);

describe('a step (recovery point)', () => {
  it('is not run again by the owner that takes the operation over, who goes on after it', async () => {
    const dying = await open({ lease: '300ms', onLeaseExpiry: 'retry' });
    const other = await open({ lease: '300ms', onLeaseExpiry: 'retry' });
    const operation = work();
    const ran: string[] = [];
    const order = (end: () => Promise<unknown>) => async () => {
      const idem = currentIdempotency();
      const charge = await idem?.phase('charge', async () => {
        ran.push('charge');
        return { id: 'ch_1' };
      });
      await end();
      await idem?.phase('ship', async () => {
        ran.push('ship');
      });
      return charge;
    };
    let isStored = false;
    const vanishAfterIt = (): Promise<never> => {
      isStored = true;
      return vanish();
    };
    void dying.service.run(operation, order(vanishAfterIt));
    await eventually(() => expect(isStored).toBe(true));
    await dying.close();
    const result = await eventually(() =>
      other.service.run(
        operation,
        order(async () => undefined),
      ),
    );
    expect(result).toEqual({ id: 'ch_1' });
    expect(ran).toEqual(['charge', 'ship']);
  });

  it('that its run may not take, because its lease is over, leaves the operation to what the policy says', async () => {
    const { service } = await open();
    const lapsed = (onLeaseExpiry: 'retry' | 'uncertain') => {
      const operation = work();
      const run = (fn: () => Promise<string>) => service.run(operation, fn, { onLeaseExpiry });
      return {
        first: run(() => Promise.reject(new OperationLostError('order'))),
        next: () => run(async () => 'again'),
      };
    };
    const retried = lapsed('retry');
    await expect(retried.first).rejects.toMatchObject({ code: 'OPERATION_LOST' });
    expect(await retried.next()).toBe('again');
    const kept = lapsed('uncertain');
    await expect(kept.first).rejects.toMatchObject({ code: 'OPERATION_LOST' });
    await expect(kept.next()).rejects.toMatchObject({ code: 'OPERATION_UNCERTAIN' });
  });

  it('is not run again after an error that leaves the operation free', async () => {
    const { service } = await open({ onError: () => 'release' });
    const operation = work();
    let charges = 0;
    const charge = async () => {
      charges += 1;
      return `ch_${charges}`;
    };
    const attempt = (fails: boolean) =>
      service.run(operation, async (idem) => {
        const id = await idem.phase('charge', charge);
        if (fails) throw new Error('the shipper is down');
        return id;
      });
    await expect(attempt(true)).rejects.toThrow('the shipper is down');
    expect(await attempt(false)).toBe('ch_1');
  });

  it('runs again when the handler says that nothing happened', async () => {
    const { service } = await open();
    const operation = work();
    let charges = 0;
    const charge = async () => {
      charges += 1;
      return `ch_${charges}`;
    };
    const attempt = (fails: boolean) =>
      service.run(operation, async (idem) => {
        const id = await idem.phase('charge', charge);
        if (fails) throw new NotApplied(new Error('voided'));
        return id;
      });
    await expect(attempt(true)).rejects.toThrow('voided');
    expect(await attempt(false)).toBe('ch_2');
  });

  it('may be tried again in the same run when it fails, and runs once when it is asked for twice', async () => {
    const { service } = await open();
    let tries = 0;
    const result = await service.run(work(), async (idem) => {
      const step = async () => {
        tries += 1;
        if (tries === 1) throw new Error('not yet');
        return tries;
      };
      await expect(idem.phase('charge', step)).rejects.toThrow('not yet');
      return Promise.all([idem.phase('charge', step), idem.phase('charge', step)]);
    });
    expect(result).toEqual([2, 2]);
  });

  it('keeps results whatever their name and value: nothing, text, and names of Object.prototype', async () => {
    const { service } = await open({ lease: '300ms', onLeaseExpiry: 'retry' });
    const operation = work();
    const steps = { __proto__null: null, constructor: 'c', 'ключ 🔑': { deep: [1] }, toString: undefined };
    const failing = service.run(
      operation,
      async (idem) => {
        for (const [name, value] of Object.entries(steps)) await idem.phase(name, async () => value);
        throw new Error('later');
      },
      { onError: () => 'release' },
    );
    await expect(failing).rejects.toThrow('later');
    const again = await service.run(operation, async (idem) => {
      const read = async (name: string) => [name, await idem.phase(name, async () => 'ran again')] as const;
      return Object.fromEntries(await Promise.all(Object.keys(steps).map(read)));
    });
    expect(again).toEqual(steps);
  });

  it('stops a run that has lost its operation, before and after the step', async () => {
    const slow = await open({ lease: '200ms', onLeaseExpiry: 'retry', maxExecution: '200ms' });
    const next = await open({ onLeaseExpiry: 'retry' });
    const operation = work();
    let pass: () => void = () => undefined;
    const passed = new Promise<void>((resolve) => {
      pass = resolve;
    });
    let hasBegun = false;
    const zombie = slow.service.run(operation, async (idem) => {
      hasBegun = true;
      await expect(idem.phase('during', () => passed)).rejects.toMatchObject({ code: 'OPERATION_LOST' });
      await idem.phase('after', async () => expect.unreachable('it ran after the loss'));
    });
    const lost = expect(zombie).rejects.toMatchObject({ code: 'OPERATION_LOST', kind: 'unknown' });
    await eventually(() => expect(hasBegun).toBe(true));
    await eventually(() => next.service.run(operation, async () => 'next'));
    pass();
    await lost;
    expect(await next.service.run(operation, async () => 'again')).toBe('next');
  });

  it('is stored although the store is silent for a moment, which is reported', async () => {
    const store = new MemoryIdempotencyStore();
    const saveStep = store.saveStep.bind(store);
    let silent = 2;
    store.saveStep = async (...args) => {
      if (silent === 0) return saveStep(...args);
      silent -= 1;
      throw new StoreUnavailableError({ store: 'test', operation: 'step', outcome: 'unknown' });
    };
    const app = await openServiceApp(server, { store: { useFactory: () => store } } as never);
    opened.push(app);
    const operation = work();
    await app.service.run(operation, async (idem) => idem.phase('charge', async () => 1));
    expect(silent).toBe(0);
    expect(app.incidents.map(({ code }) => code)).toEqual(['STEP_DELAYED', 'STEP_DELAYED']);
  });

  it('that could not be stored makes the operation uncertain, though the store says that nothing was applied', async () => {
    const store = new MemoryIdempotencyStore();
    store.saveStep = () =>
      Promise.reject(new StoreUnavailableError({ store: 'test', operation: 'step', outcome: 'not-applied' }));
    store.renew = () =>
      Promise.reject(new StoreUnavailableError({ store: 'test', operation: 'renew', outcome: 'not-applied' }));
    const { service } = await open({ store: { useFactory: () => store }, lease: '200ms' } as never);
    const operation = work();
    const run = () => service.run(operation, (idem) => idem.phase('charge', async () => 1));
    await expect(run()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'unknown' });
    await expect(run()).rejects.toMatchObject({ code: 'OPERATION_UNCERTAIN' });
  });

  it('with a result that is no JSON makes the operation uncertain, because its effect is there', async () => {
    const { service } = await open();
    const operation = work();
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    const run = () => service.run(operation, (idem) => idem.phase('charge', async () => circular));
    await expect(run()).rejects.toMatchObject({ code: 'IDEMPOTENCY_STEP_INVALID' });
    await expect(run()).rejects.toMatchObject({ code: 'OPERATION_UNCERTAIN' });
    expect((await service.listUncertain()).map(({ id }) => id)).toContain(operationId(operation));
  });

  it.each(['', 'x'.repeat(101), 7])('named %j is refused', async (name) => {
    const { service } = await open();
    const run = service.run(work(), (idem) => idem.phase(name as string, async () => 1));
    await expect(run).rejects.toMatchObject({ code: 'CONFIGURATION_INVALID' });
  });
});
