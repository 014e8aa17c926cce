import 'reflect-metadata';
import { ConfigurationError, monotonicMs } from '@lockstep/core';
import { currentLease, DistributedLock, LockBusyError, LockLostError, LockModule } from '@lockstep/lock';
import { eventually } from '@lockstep/testing';
import { Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { type SpanOptions, type Tracer, trace } from '@opentelemetry/api';
import { concat, defer, firstValueFrom, lastValueFrom, Observable, of, Subject, throwError } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { ScriptedStore } from './support/scripted-store.js';

const TTL_MS = 300;
const gone = new Error('sold out');

@Injectable()
class Prices {
  source: () => Observable<unknown> = () => of(1, 2);
  calls = 0;

  @DistributedLock({ key: () => 'k', wait: '5s' })
  watch(): Observable<unknown> {
    this.calls += 1;
    return this.source();
  }

  @DistributedLock({ key: () => 'k', wait: 0 })
  async *pages(count = 3): AsyncGenerator<number | undefined> {
    this.calls += 1;
    for (let page = 0; page < count; page++) yield currentLease()?.isHeld() ? page : undefined;
  }

  @DistributedLock({ key: () => 'k', wait: 0 })
  undeclared() {
    return this.source();
  }
}

let store: ScriptedStore;
let app: TestingModule;
let prices: Prices;
beforeEach(async () => {
  store = new ScriptedStore();
  const locks = LockModule.forRoot({ ttl: TTL_MS, store: { useFactory: () => store } });
  app = await Test.createTestingModule({ imports: [locks], providers: [Prices] }).compile();
  app.useLogger(false);
  await app.init();
  prices = app.get(Prices);
});
afterEach(() => app.close());

/** Whether somebody else could have the lock now; gives it back. */
async function isFree(): Promise<boolean> {
  const attempt = { key: 'k', token: 'probe', ttlMs: 1_000, waitMs: 0, capacity: 1, fairness: 'fifo' as const };
  const { status } = await store.real.acquire(attempt);
  if (status === 'granted') await store.real.release([{ ...attempt, deadline: monotonicMs() }]);
  return status === 'granted';
}

async function passed(ms: number): Promise<void> {
  const until = monotonicMs() + ms;
  await eventually(() => expect(monotonicMs()).toBeGreaterThan(until), { intervalMs: 5 });
}

function blockEventLoop(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('an Observable under a lock', () => {
  it('holds it from its subscription to its end, beyond the length of a lease, and frees it before it completes', async () => {
    const source = new Subject<unknown>();
    prices.source = () => source;
    const watched = prices.watch();
    expect(await isFree()).toBe(true);
    const last = lastValueFrom(watched).then(async (value) => [value, await isFree()]);
    await eventually(() => expect(source.observed).toBe(true));
    await passed(TTL_MS * 2);
    expect(await isFree()).toBe(false);
    source.next('end');
    source.complete();
    expect(await last).toEqual(['end', true]);
  });

  it('is under the lease of its own subscription wherever it works, which its subscriber is not', async () => {
    const fences: unknown[] = [];
    const note = (): unknown => fences.push(currentLease()?.fence);
    prices.source = () =>
      concat(
        defer(async () => note()),
        defer(() => of(note())),
      );
    for (const _ of [1, 2]) {
      await new Promise<void>((resolve) => {
        prices.watch().subscribe({
          complete: () => {
            note();
            resolve();
          },
        });
      });
    }
    expect(fences).toEqual([expect.any(BigInt), fences[0], undefined, expect.any(BigInt), fences[3], undefined]);
    expect(fences[3]).not.toBe(fences[0]);
  });

  it('lets one subscription in at a time; the next waits its turn', async () => {
    const sources = [new Subject<unknown>(), new Subject<unknown>()];
    prices.source = () => sources[prices.calls - 1] ?? of();
    const [first, second] = [lastValueFrom(prices.watch()), lastValueFrom(prices.watch())];
    await eventually(() => expect(sources[0]?.observed).toBe(true));
    expect(prices.calls).toBe(1);
    sources[0]?.next(1);
    sources[0]?.complete();
    await eventually(() => expect(sources[1]?.observed).toBe(true));
    sources[1]?.next(2);
    sources[1]?.complete();
    expect(await Promise.all([first, second])).toEqual([1, 2]);
  });

  it('whose subscriber leaves while it waits gives the waiting up, and never works', async () => {
    await store.real.acquire({
      key: 'k',
      token: 'another',
      ttlMs: 60_000,
      waitMs: 0,
      capacity: 1,
      fairness: 'fifo' as const,
    });
    let aborted: AbortSignal | undefined;
    store.onAcquire = (request) => {
      aborted = request.signal;
      return store.real.acquire(request);
    };
    const subscription = prices.watch().subscribe();
    await eventually(() => expect(aborted?.aborted).toBe(false));
    subscription.unsubscribe();
    expect(aborted?.aborted).toBe(true);
    await store.real.release([{ key: 'k', token: 'another', deadline: monotonicMs() }]);
    expect([await isFree(), prices.calls]).toEqual([true, 0]);
  });

  it('frees the lock when its subscriber leaves', async () => {
    const source = new Subject<unknown>();
    prices.source = () => source;
    const first = firstValueFrom(prices.watch());
    await eventually(() => expect(source.observed).toBe(true));
    source.next('first');
    expect(await first).toBe('first');
    await eventually(async () => expect(await isFree()).toBe(true));
    expect(source.observed).toBe(false);
  });

  it('that completes after a loss fails with it at its end; an error of its own stays that error', async () => {
    const losing = (end: Observable<unknown>) => () => {
      const late = defer(() => {
        blockEventLoop(TTL_MS + 50);
        return end;
      });
      return concat(of('value'), late);
    };
    prices.source = losing(of('charged'));
    const values: unknown[] = [];
    const end = await new Promise((resolve) => {
      prices.watch().subscribe({ next: (value) => values.push(value), error: resolve, complete: () => resolve('end') });
    });
    expect(end).toBeInstanceOf(LockLostError);
    expect([values, end]).toEqual([
      ['value', 'charged'],
      expect.objectContaining({ loss: 'expired', result: 'charged' }),
    ]);
    prices.source = losing(throwError(() => gone));
    await expect(lastValueFrom(prices.watch())).rejects.toBe(gone);
  });

  it('that nothing had told of is refused at its first call, saying what to write', async () => {
    const refused = Promise.resolve(prices.undeclared() as unknown);
    await expect(refused).rejects.toThrow(ConfigurationError);
    await expect(refused).rejects.toThrow("returns: 'observable' in the options of @DistributedLock");
    expect(await isFree()).toBe(true);
  });
});

describe('an async generator under a lock', () => {
  it('holds it from its first value to its end, and is under its lease on every resumption', async () => {
    const pages: unknown[] = [];
    for await (const page of prices.pages()) {
      pages.push(page, await isFree(), currentLease());
      await passed(TTL_MS / 2);
    }
    expect(pages).toEqual([0, false, undefined, 1, false, undefined, 2, false, undefined]);
    expect(await isFree()).toBe(true);
  });

  it('takes nothing before its first value, and frees the lock when its consumer breaks off or fails', async () => {
    const unused = prices.pages();
    expect(await isFree()).toBe(true);
    await unused.return(undefined);
    for await (const _ of prices.pages()) break;
    expect(await isFree()).toBe(true);
    const failing = async () => {
      for await (const _ of prices.pages()) throw gone;
    };
    await expect(failing()).rejects.toBe(gone);
    expect([await isFree(), prices.calls]).toEqual([true, 2]);
  });

  it('refuses a second run while the first one goes on', async () => {
    const running = prices.pages();
    await running.next();
    await expect(prices.pages().next()).rejects.toThrow(LockBusyError);
    await running.return(undefined);
  });

  it('that ends after a loss fails with it, also when it is broken off', async () => {
    const lose = async (pages: AsyncGenerator<unknown>, then: () => Promise<unknown>) => {
      await pages.next();
      blockEventLoop(TTL_MS + 50);
      return then();
    };
    const [ended, left] = [prices.pages(1), prices.pages()];
    await expect(lose(ended, () => ended.next())).rejects.toThrow(LockLostError);
    await expect(lose(left, () => left.return('half'))).rejects.toMatchObject({ loss: 'expired', result: 'half' });
    const thrown = prices.pages();
    await expect(lose(thrown, () => thrown.throw(gone))).rejects.toBe(gone);
  });
});

it('a span lasts as long as the lock of a stream, and is marked where the stream failed', async () => {
  const notes: string[] = [];
  const startSpan = (name: string, { attributes }: SpanOptions) => {
    notes.push(`start ${name} ${JSON.stringify(attributes)}`);
    return {
      setStatus: () => notes.push('failed'),
      setAttribute: (_key: string, value: string) => notes.push(value),
      recordException: () => undefined,
      end: () => notes.push('end'),
    };
  };
  trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) as unknown as Tracer });
  onTestFinished(() => trace.disable());
  const start = 'start lockstep.lock {"lockstep.lock.key":"k"}';
  const running = prices.pages();
  await running.next();
  expect(notes).toEqual([start]);
  await expect(prices.pages().next()).rejects.toThrow(LockBusyError);
  await running.return(undefined);
  expect(notes).toEqual([start, start, 'failed', 'LOCK_BUSY', 'end', 'end']);
  prices.source = () => throwError(() => gone);
  await expect(lastValueFrom(prices.watch())).rejects.toBe(gone);
  expect(notes.slice(6)).toEqual([start, 'failed', 'Error', 'end']);
});
