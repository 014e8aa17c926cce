import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import {
  type AbandonedOperation,
  IdempotencyCompleter,
  type KnownOutcome,
  MemoryIdempotencyStore,
  NotApplied,
  OutcomeUnknown,
  operationId,
} from '@lockstep/idempotency';
import { eventually } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { Injectable, type Provider, Scope } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import { openServiceApp, type ServiceApp } from './support/service-app.js';

const server = useRedis();
const FAST = { completeAfter: '200ms', sweepEvery: '100ms', lease: '300ms' } as const;
const opened: ServiceApp[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((app) => app.close()));
});

async function open(...providers: Provider[]): Promise<ServiceApp> {
  const app = await openServiceApp(server, FAST, providers);
  opened.push(app);
  return app;
}

function work(operation: string) {
  return { scope: 'test', operation, key: randomUUID(), payload: 1 };
}

const lost = (): Promise<never> => Promise.reject(new OutcomeUnknown(new Error('the partner is silent')));

/** A completer of an operation of its own, so that no test completes what belongs to another. */
function completerOf(operation: string, complete: (abandoned: AbandonedOperation) => Promise<KnownOutcome>) {
  @Injectable()
  class Recovery {
    @IdempotencyCompleter(operation)
    complete(abandoned: AbandonedOperation): Promise<KnownOutcome> {
      return complete(abandoned);
    }
  }
  return Recovery;
}

describe('a completer', () => {
  it('finishes what its owner could not, from the steps it left, and repetitions get the result', async () => {
    const operation = work(`charge ${randomUUID()}`);
    const seen: unknown[] = [];
    const completer = completerOf(operation.operation, async (abandoned) => {
      seen.push(abandoned.step('order'), abandoned.step('missing'), abandoned.recovered);
      return { result: await abandoned.phase('charge', async () => 'charged late') };
    });
    const { service } = await open(completer);
    const failed = service.run(operation, async (idem) => {
      await idem.phase('order', async () => ({ amount: 5 }));
      return lost();
    });
    await expect(failed).rejects.toThrow('the partner is silent');
    const result = await eventually(() => service.run(operation, () => Promise.reject(new Error('it ran'))));
    expect(result).toBe('charged late');
    expect(seen).toEqual([{ amount: 5 }, undefined, true]);
  });

  it('runs in one of many processes at a time', async () => {
    const operation = work(`charge ${randomUUID()}`);
    let running = 0;
    let most = 0;
    let runs = 0;
    const completer = completerOf(operation.operation, async () => {
      runs += 1;
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return { result: 'done' };
    });
    const apps = await Promise.all([open(completer), open(completer), open(completer)]);
    const operations = Array.from({ length: 20 }, () => ({ ...operation, key: randomUUID() }));
    for (const each of operations) await expect(apps[0].service.run(each, lost)).rejects.toThrow();
    for (const each of operations) {
      expect(await eventually(() => apps[1].service.run(each, lost))).toBe('done');
    }
    expect(runs).toBe(operations.length);
  });

  it('that fails leaves the operation uncertain and is asked again; one that finds nothing frees the key', async () => {
    const operation = work(`charge ${randomUUID()}`);
    let tries = 0;
    const completer = completerOf(operation.operation, async () => {
      tries += 1;
      if (tries === 1) throw new Error('still silent');
      throw new NotApplied(new Error('the partner knows nothing of it'));
    });
    const { service, incidents } = await open(completer);
    await expect(service.run(operation, lost)).rejects.toThrow();
    const result = await eventually(() => service.run(operation, async ({ recovered }) => ({ recovered })));
    expect(result).toEqual({ recovered: true });
    expect(tries).toBe(2);
    expect(incidents.map(({ code }) => code)).toContain('COMPLETION_FAILED');
  });

  it('finishes all others while some cannot be taken over', async () => {
    const operation = work(`charge ${randomUUID()}`);
    const store = new MemoryIdempotencyStore();
    const operations = Array.from({ length: 20 }, () => ({ ...operation, key: randomUUID() }));
    const damaged = new Set(operations.slice(0, 8).map(operationId));
    const adopt = store.adopt.bind(store);
    store.adopt = async (request) => {
      if (damaged.has(request.id)) throw new Error('its record is damaged');
      return adopt(request);
    };
    const completer = completerOf(operation.operation, async () => ({ result: 'done' }));
    const app = await openServiceApp(server, { ...FAST, store: { useFactory: () => store } } as never, [completer]);
    opened.push(app);
    for (const each of operations) await expect(app.service.run(each, lost)).rejects.toThrow();
    for (const each of operations.slice(8)) {
      expect(await eventually(() => app.service.run(each, lost))).toBe('done');
    }
    expect(app.incidents.map(({ code }) => code)).toContain('COMPLETION_FAILED');
  });

  it('leaves alone what is not its own', async () => {
    const [own, other] = [work(`charge ${randomUUID()}`), work(`ship ${randomUUID()}`)];
    const { service } = await open(completerOf(own.operation, async () => ({ result: 'done' })));
    for (const each of [other, own]) await expect(service.run(each, lost)).rejects.toThrow();
    expect(await eventually(() => service.run(own, lost))).toBe('done');
    expect((await service.listUncertain(1_000)).map(({ id }) => id)).toContain(operationId(other));
  });

  it('is refused at boot beside another one of the same operation, or in a class made anew for every request', async () => {
    const operation = `charge ${randomUUID()}`;
    const completers = [0, 1].map(() => completerOf(operation, async () => ({ result: 1 })));
    await expect(open(...completers)).rejects.toThrow(`both complete ${operation}`);
    const perRequest = completerOf(`charge ${randomUUID()}`, async () => ({ result: 1 }));
    const provider = { provide: perRequest, useClass: perRequest, scope: Scope.REQUEST };
    await expect(open(provider)).rejects.toThrow('made anew for every request');
  });
});

describe('an operator', () => {
  it('settles an uncertain request with an answer that repetitions get as if it had been sent', async () => {
    const { service } = await open();
    const operation = work(`charge ${randomUUID()}`);
    await expect(service.run(operation, lost)).rejects.toThrow();
    expect(await service.resolve(operationId(operation), { to: 'completed', result: { id: 7 } })).toBe(true);
    expect(await service.run(operation, lost)).toEqual({ id: 7 });
    expect(await service.resolve(operationId(operation), { to: 'released' })).toBe(false);
  });

  it('who gives a call the answer of a request has it refused, and no result is made up', async () => {
    const { service } = await open();
    const operation = work(`charge ${randomUUID()}`);
    await expect(service.run(operation, lost)).rejects.toThrow();
    const verdict = { to: 'completed', answer: { status: 201, body: { id: 7 } } } as const;
    expect(await service.resolve(operationId(operation), verdict)).toBe(true);
    await expect(service.run(operation, lost)).rejects.toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' });
  });

  it.each([{ answer: { status: 99 } }, { answer: { status: 200, body: 1n } }, { result: 1n }])(
    'cannot settle with what no answer can be made of: %o',
    async (outcome) => {
      const { service } = await open();
      const operation = work(`charge ${randomUUID()}`);
      await expect(service.run(operation, lost)).rejects.toThrow();
      const resolving = async () => service.resolve(operationId(operation), { to: 'completed', ...outcome });
      await expect(resolving()).rejects.toThrow('must be JSON');
    },
  );

  it.each([{ 'set-cookie': 'sid=s3cret' }, { 'x-note': 'a\r\nset-cookie: sid=s3cret' }, { 'no name': 'a' }])(
    'cannot settle with a header that may not, or could not, be repeated: %o',
    async (headers) => {
      const { service } = await open();
      const operation = work(`charge ${randomUUID()}`);
      await expect(service.run(operation, lost)).rejects.toThrow();
      const answer = { status: 201, headers: { ...headers } };
      const resolving = async () => service.resolve(operationId(operation), { to: 'completed', answer });
      await expect(resolving()).rejects.toThrow(TypeError);
      expect(await service.resolve(operationId(operation), { to: 'released' })).toBe(true);
    },
  );
});
