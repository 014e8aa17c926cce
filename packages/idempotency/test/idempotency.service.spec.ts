import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { DrainService, Incidents, LockstepModule, StoreUnavailableError } from '@lockstep/core';
import {
  type BeginOutcome,
  type BeginRequest,
  type Claim,
  currentIdempotency,
  IdempotencyModule,
  type IdempotencyModuleOptions,
  IdempotencyService,
  type IdempotencyStore,
  MemoryIdempotencyStore,
  NotApplied,
  OutcomeUnknown,
  operationId,
  type Settlement,
} from '@lockstep/idempotency';
import { eventually } from '@lockstep/testing';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { SECRET } from './support/http-app.js';

let module: TestingModule | undefined;
let codes: string[] = [];
let serial = 0;

async function open(
  store: IdempotencyStore = new MemoryIdempotencyStore(),
  change: Partial<IdempotencyModuleOptions> = {},
): Promise<IdempotencyService> {
  const imports = [
    LockstepModule.forRoot({ drainTimeout: '500ms' }),
    IdempotencyModule.forRoot({ scope: 'global', secret: SECRET, store: { useFactory: () => store }, ...change }),
  ];
  module = await Test.createTestingModule({ imports }).compile();
  codes = [];
  module.get(Incidents, { strict: false }).subscribe(({ code }) => codes.push(code));
  await module.init();
  return module.get(IdempotencyService);
}

afterEach(async () => {
  await module?.close();
  module = undefined;
});

function operation(payload: unknown = { amount: 1 }) {
  serial += 1;
  return { scope: 'test', operation: 'charge', key: `key-${serial}`, payload };
}

function down(outcome: 'not-applied' | 'unknown' = 'unknown'): StoreUnavailableError {
  return new StoreUnavailableError({ store: 'test', operation: 'settle', outcome });
}

async function until(timeMs: number): Promise<void> {
  await eventually(() => expect(performance.now()).toBeGreaterThan(timeMs));
}

/** A store whose named method fails so many times. */
function failing(method: 'begin' | 'renew' | 'settle', times: number, applies = false): MemoryIdempotencyStore {
  const store = new MemoryIdempotencyStore();
  const original = (store[method] as (...args: unknown[]) => Promise<unknown>).bind(store);
  let left = times;
  Object.assign(store, {
    [method]: async (...args: unknown[]) => {
      if (left <= 0) return original(...args);
      left -= 1;
      if (applies) await original(...args);
      throw down();
    },
  });
  return store;
}

describe('IdempotencyService.run', () => {
  it('runs once per key and hands every repetition the first result', async () => {
    const service = await open();
    const work = operation();
    let runs = 0;
    const run = () =>
      service.run(work, async ({ fence }) => {
        runs += 1;
        return { runs, fence: String(fence) };
      });
    const first = await run();
    expect(await run()).toEqual(first);
    expect(runs).toBe(1);
  });

  it('repeats undefined as undefined', async () => {
    const service = await open();
    const work = operation();
    for (let i = 0; i < 2; i += 1) expect(await service.run(work, async () => undefined)).toBeUndefined();
  });

  it('refuses the repetition of a result that is no JSON, and says so to the operator', async () => {
    const service = await open();
    const work = operation();
    expect(await service.run(work, async () => 1n)).toBe(1n);
    await expect(service.run(work, async () => 2n)).rejects.toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' });
    expect(codes).toContain('RESULT_NOT_STORABLE');
  });

  it('refuses another payload under the same key, whatever the order of its fields', async () => {
    const service = await open();
    const work = operation({ a: 1, b: { c: [1, 2], d: null } });
    await service.run(work, async () => 1);
    expect(await service.run({ ...work, payload: { b: { d: null, c: [1, 2] }, a: 1 } }, async () => 2)).toBe(1);
    await expect(service.run({ ...work, payload: { a: 2 } }, async () => 2)).rejects.toMatchObject({
      code: 'IDEMPOTENCY_KEY_REUSED',
    });
  });

  it('lets the code inside ask for its fence, and nobody outside', async () => {
    const service = await open();
    await service.run(operation(), async ({ fence }) => {
      await new Promise(setImmediate);
      expect(currentIdempotency()?.fence).toBe(fence);
    });
    expect(currentIdempotency()).toBeUndefined();
  });

  it('frees the key after NotApplied and blocks it after OutcomeUnknown, and throws their cause', async () => {
    const service = await open(new MemoryIdempotencyStore(), { onLeaseExpiry: 'retry' });
    const cause = new Error('cause');
    const [free, blocked] = [operation(), operation()];
    await expect(service.run(free, () => Promise.reject(new NotApplied(cause)))).rejects.toBe(cause);
    expect(await service.run({ ...free, payload: 'corrected' }, async () => 1)).toBe(1);
    await expect(service.run(blocked, () => Promise.reject(new OutcomeUnknown(cause)))).rejects.toBe(cause);
    await expect(service.run(blocked, async () => 1)).rejects.toMatchObject({ code: 'OPERATION_UNCERTAIN' });
  });

  it('asks onError about a domain error that the policy would call uncertain', async () => {
    class SoldOut extends Error {}
    const service = await open(new MemoryIdempotencyStore(), {
      onError: (error) => (error instanceof SoldOut ? 'release' : undefined),
    });
    const work = operation();
    await expect(service.run(work, () => Promise.reject(new SoldOut()))).rejects.toThrow(SoldOut);
    expect(await service.run(work, async () => 'restocked')).toBe('restocked');
  });

  it('falls back to the policy when onError itself throws', async () => {
    const service = await open(new MemoryIdempotencyStore(), {
      onError: () => {
        throw new TypeError('onError is broken');
      },
    });
    const [work, error] = [operation(), new Error('domain')];
    await expect(service.run(work, () => Promise.reject(error))).rejects.toBe(error);
    await expect(service.run(work, async () => 1)).rejects.toMatchObject({ code: 'OPERATION_UNCERTAIN' });
    expect(codes).toEqual(['ON_ERROR_FAILED']);
  });

  it('takes a store that fell silent inside for unknown, and one that was never reached for a refusal', async () => {
    const service = await open();
    const [silent, unreached] = [operation(), operation()];
    await expect(service.run(silent, () => Promise.reject(down('unknown')))).rejects.toThrow();
    await expect(service.run(silent, async () => 1)).rejects.toMatchObject({ code: 'OPERATION_UNCERTAIN' });
    await expect(service.run(unreached, () => Promise.reject(down('not-applied')))).rejects.toThrow();
    expect(await service.run(unreached, async () => 1)).toBe(1);
  });
});

describe('the heartbeat', () => {
  it('keeps the claim of an execution that runs longer than its lease', async () => {
    const service = await open(new MemoryIdempotencyStore(), { lease: '1s', onLeaseExpiry: 'retry' });
    const work = operation();
    const startedAt = performance.now();
    const long = service.run(work, () => until(startedAt + 2_200));
    await eventually(async () => {
      await expect(service.run(work, async () => 'second')).rejects.toMatchObject({ code: 'OPERATION_IN_PROGRESS' });
      expect(performance.now() - startedAt).toBeGreaterThan(2_000);
    });
    await long;
    expect(codes).toEqual([]);
  });

  it('stops at maxExecution, tells the handler by its signal, and says so once', async () => {
    const service = await open(new MemoryIdempotencyStore(), { lease: 120, maxExecution: 120, onLeaseExpiry: 'retry' });
    const work = operation();
    let second: object | undefined;
    const stuck = service.run<unknown>(work, async ({ signal }) => {
      await eventually(() => expect([signal.aborted, second]).toEqual([true, { recovered: true }]));
      return 'zombie';
    });
    second = await eventually(() => service.run(work, async ({ recovered }) => ({ recovered })));
    expect(await stuck).toBe('zombie');
    expect(await service.run(work, async () => 'third')).toEqual({ recovered: true });
    expect(codes.filter((code) => code === 'EXECUTION_TOO_LONG')).toHaveLength(1);
    expect(codes).toContain('SETTLEMENT_REFUSED');
  });

  it('belongs to no request: neither to that of the first execution nor to any other', async () => {
    const requests = new AsyncLocalStorage<string>();
    const store = new MemoryIdempotencyStore();
    const renew = store.renew.bind(store);
    const seen: unknown[] = [];
    store.renew = (items) => {
      seen.push(requests.getStore());
      return renew(items);
    };
    const service = await open(store, { lease: '100ms' });
    const work = () => eventually(() => expect(seen.length).toBeGreaterThan(1));
    await requests.run('first', () => service.run(operation(), work));
    expect(new Set(seen)).toEqual(new Set([undefined]));
  });

  it('survives a store that does not answer for a while', async () => {
    const service = await open(failing('renew', 1), { lease: '1s' });
    const work = operation();
    const startedAt = performance.now();
    await service.run(work, () => until(startedAt + 1_500));
    expect(codes).toEqual(['LEASE_RENEWAL_FAILED']);
  });
});

describe('a store that does not answer', () => {
  it('after the work was done changes nothing for the caller, and is told later', async () => {
    const service = await open(failing('settle', 3), { lease: '1s', onLeaseExpiry: 'retry' });
    const work = operation();
    expect(await service.run(work, async () => 'done')).toBe('done');
    await expect(service.run(work, async () => 'again')).rejects.toMatchObject({ code: 'OPERATION_IN_PROGRESS' });
    await eventually(async () => expect(await service.run(work, async () => 'again')).toBe('done'));
    expect(codes).toContain('SETTLEMENT_DELAYED');
  });

  it('although it has stored the answer is no reason to call the lease lost', async () => {
    const service = await open(failing('settle', 5, true), { lease: '1s' });
    const work = operation();
    expect(await service.run(work, async () => 'done')).toBe('done');
    expect(await service.run(work, async () => 'again')).toBe('done');
    await until(performance.now() + 1_200);
    expect(codes).toEqual(['SETTLEMENT_DELAYED']);
  });

  it('for longer than the lease leaves the operation uncertain, never released', async () => {
    const service = await open(failing('settle', 1_000), { lease: 150, maxExecution: 150, sweepEvery: 100 });
    const work = operation();
    expect(await service.run(work, async () => 'done')).toBe('done');
    await eventually(() => expect(codes).toContain('SETTLEMENT_LOST'));
    await eventually(() =>
      expect(service.run(work, async () => 'again')).rejects.toMatchObject({ code: 'OPERATION_UNCERTAIN' }),
    );
  });

  it('for longer than the lease still gets the answer from the owner that has it, where nobody may take over', async () => {
    const store = failing('settle', Number.POSITIVE_INFINITY);
    const settle = MemoryIdempotencyStore.prototype.settle.bind(store);
    store.renew = () => Promise.reject(down());
    const service = await open(store, { lease: 150, sweepEvery: 100 });
    const work = operation();
    expect(await service.run(work, async () => 'done')).toBe('done');
    await eventually(async () => expect(await service.listUncertain()).toHaveLength(1));
    store.settle = settle;
    expect(await eventually(() => service.run(work, async () => 'again'))).toBe('done');
    expect(await service.listUncertain()).toEqual([]);
  });

  it('to a begin that it has applied is told that nobody runs it', async () => {
    const service = await open(failing('begin', 1, true));
    const work = operation();
    const message = 'test did not answer idempotency.begin';
    const refusal = { code: 'STORE_UNAVAILABLE', outcome: 'not-applied', message };
    await expect(service.run(work, async () => 1)).rejects.toMatchObject(refusal);
    expect(await eventually(() => service.run({ ...work, payload: 'other' }, async () => 2))).toBe(2);
    expect(await service.listUncertain()).toEqual([]);
  });

  it('to many at a time is no reason to warn of a leak', async () => {
    const warnings: string[] = [];
    const note = ({ name }: Error): void => void warnings.push(name);
    process.on('warning', note);
    const service = await open(failing('settle', 1_000), { lease: '10s' });
    await Promise.all(Array.from({ length: 12 }, () => service.run(operation(), async () => 1)));
    await until(performance.now() + 50);
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('to what ends while the application closes is waited for like what ended before', async () => {
    const store = new MemoryIdempotencyStore();
    const settle = store.settle.bind(store);
    const [early, late] = [operation(), operation()];
    let isClosing = false;
    let tries = 0;
    store.settle = async (claim, settlement) => {
      if (claim.id === operationId(early) && !isClosing) throw down();
      if (claim.id === operationId(late)) {
        tries += 1;
        if (tries < 3) throw down();
      }
      return settle(claim, settlement);
    };
    const service = await open(store);
    await service.run(early, async () => 'early');
    const drains = module?.get(DrainService, { strict: false });
    drains?.register({
      name: 'a handler that ends late',
      phase: 'leases',
      drain: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        await service.run(late, async () => 'late');
        isClosing = true;
      },
    });
    await module?.close();
    module = undefined;
    expect(codes).not.toContain('SETTLEMENT_LOST');
    expect(tries).toBe(3);
  });

  it('does not keep the application from closing', async () => {
    const service = await open(failing('settle', 1_000), { lease: '10s' });
    await service.run(operation(), async () => 1);
    const startedAt = performance.now();
    await module?.close();
    module = undefined;
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });
});

describe('a begin whose answer was lost', () => {
  /** Applies what begins and loses the answer, and hears of no settlement, while it is down. */
  class LossyStore extends MemoryIdempotencyStore {
    isDown = true;
    tries = 0;

    override async begin(request: BeginRequest): Promise<BeginOutcome> {
      const outcome = await super.begin(request);
      if (this.isDown) throw new StoreUnavailableError({ store: 'test', operation: 'begin', outcome: 'unknown' });
      return outcome;
    }

    override async settle(claim: Claim, settlement: Settlement): Promise<boolean> {
      this.tries += 1;
      if (this.isDown) throw new StoreUnavailableError({ store: 'test', operation: 'settle', outcome: 'unknown' });
      return super.settle(claim, settlement);
    }
  }

  it('is taken back though the store is away for long, so that nothing is uncertain that never ran', async () => {
    const store = new LossyStore();
    const service = await open(store);
    const operation = { scope: 'test', operation: 'pay', key: 'a key whose begin got lost', payload: 1 };
    const run = () => service.run(operation, async () => 'ran');
    await expect(run()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied' });
    const { now } = performance;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + 60_000);
    try {
      const tries = store.tries;
      await eventually(() => expect(store.tries).toBeGreaterThan(tries + 1));
      store.isDown = false;
      expect(await eventually(run)).toBe('ran');
      expect(codes).toEqual([]);
    } finally {
      clock.mockRestore();
    }
  });
});
