import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import { eventually, withoutGuarantees } from '@lockstep/testing';
import { Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { firstValueFrom, lastValueFrom, Observable, of, Subject, take, throwError, toArray } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inScope, Scoped, Scopes, ScopesModule } from './support/scoped.decorator.js';

const gone = new Error('sold out');

@Injectable()
class Prices {
  source: () => Observable<unknown> = () => of(1, 2);
  readonly seen: unknown[] = [];

  @Scoped()
  watch(...args: unknown[]): Observable<unknown> {
    this.seen.push(inScope.getStore(), ...args);
    return this.source();
  }

  @Scoped('declared', 'observable')
  declared() {
    return this.source();
  }

  @Scoped('unsaid')
  unsaid() {
    return this.source();
  }

  @Scoped('late')
  async late(): Promise<unknown> {
    return this.source();
  }

  @Scoped('outer')
  @Scoped('inner')
  twice(): Observable<unknown> {
    return this.source();
  }

  @Scoped('liar', 'observable')
  liar(): Observable<unknown> {
    return [] as never;
  }
}

let app: TestingModule;
let prices: Prices;
let scopes: Scopes;
beforeEach(async () => {
  app = await Test.createTestingModule({ imports: [ScopesModule], providers: [Prices] }).compile();
  await app.init();
  prices = app.get(Prices);
  scopes = app.get(Scopes);
});
afterEach(() => app.close());

describe('a guarded Observable', () => {
  it('is cold: a subscription opens the scope and only then calls the method, each one anew', async () => {
    const watched = prices.watch('sku');
    expect(watched).toBeInstanceOf(Observable);
    expect([scopes.events, prices.seen]).toEqual([[], []]);
    expect(await lastValueFrom(watched.pipe(toArray()))).toEqual([1, 2]);
    expect(await lastValueFrom(watched)).toBe(2);
    expect(scopes.events).toEqual(['open scope', 'close scope', 'open scope', 'close scope']);
    expect(prices.seen).toEqual(['scope', 'sku', 'scope', 'sku']);
    expect(scopes.outcomes).toEqual(Array(2).fill({ status: 'completed', result: 2 }));
  });

  it('completes only when its scope is closed', async () => {
    let close: () => void = () => undefined;
    scopes.onClose = () => new Promise((resolve) => (close = resolve));
    let completed = false;
    prices.watch().subscribe({ complete: () => (completed = true) });
    await eventually(() => expect(scopes.events).toContain('close scope'));
    expect(completed).toBe(false);
    close();
    await eventually(() => expect(completed).toBe(true));
  });

  it('passes errors through by identity, those thrown by the method too, when its scope is closed', async () => {
    for (const source of [() => throwError(() => gone), () => throwIt()]) {
      prices.source = source;
      await expect(lastValueFrom(prices.watch())).rejects.toBe(gone);
    }
    expect(scopes.outcomes).toEqual(Array(2).fill({ status: 'failed', error: gone }));
  });

  it('fails with what the scope cannot open with, and does not call the method', async () => {
    scopes.onOpen = async () => throwIt();
    await expect(lastValueFrom(prices.watch())).rejects.toBe(gone);
    expect([prices.seen, scopes.outcomes]).toEqual([[], []]);
  });

  it('fails in place of its end with what the scope closes with', async () => {
    scopes.onClose = async () => throwIt();
    const values: unknown[] = [];
    const end = await new Promise((resolve) => {
      prices.watch().subscribe({ next: (value) => values.push(value), error: resolve, complete: () => resolve('end') });
    });
    expect([values, end]).toEqual([[1, 2], gone]);
  });

  it('whose subscriber leaves while the scope is opened aborts that, and never calls the method', async () => {
    let signal: AbortSignal | undefined;
    let granted: () => void = () => undefined;
    scopes.onOpen = (call) => {
      signal = call.signal;
      return new Promise((resolve) => (granted = resolve));
    };
    const subscription = prices.watch().subscribe();
    await eventually(() => expect(signal?.aborted).toBe(false));
    subscription.unsubscribe();
    expect(signal?.aborted).toBe(true);
    granted();
    await eventually(() => expect(scopes.outcomes).toEqual([{ status: 'abandoned' }]));
    expect(prices.seen).toEqual([]);
  });

  it('whose subscriber leaves is unsubscribed from within, and its scope closed', async () => {
    const source = new Subject();
    const left: unknown[] = [];
    prices.source = () =>
      new Observable((subscriber) => {
        subscriber.add(source.subscribe(subscriber));
        return () => left.push(inScope.getStore());
      });
    const first = firstValueFrom(prices.watch());
    await eventually(() => expect(source.observed).toBe(true));
    source.next('a');
    expect(await first).toBe('a');
    expect([source.observed, left, scopes.outcomes]).toEqual([false, ['scope'], [{ status: 'abandoned' }]]);
  });

  it('that emits at once ends for a subscriber that takes one', async () => {
    let produced = 0;
    prices.source = () =>
      new Observable<number>((subscriber) => {
        while (!subscriber.closed && produced < 100) subscriber.next(produced++);
      });
    expect(await lastValueFrom(prices.watch().pipe(take(1)))).toBe(0);
    expect([produced, scopes.outcomes]).toEqual([1, [{ status: 'abandoned' }]]);
  });

  it('does not let the subscriber run within the scope', async () => {
    const seen: unknown[] = [];
    const note = () => seen.push(inScope.getStore());
    inScope.run('subscriber', () => prices.watch().subscribe({ next: note, complete: note }));
    await eventually(() => expect(seen).toEqual(['subscriber', 'subscriber', 'subscriber']));
    prices.source = () => throwError(() => gone);
    prices.watch().subscribe({ error: note });
    await eventually(() => expect(seen).toHaveLength(4));
    expect(seen.at(-1)).toBeUndefined();
  });

  it('may be guarded twice: the upper one is opened first and closed last', async () => {
    await lastValueFrom(prices.twice());
    expect(scopes.events).toEqual(['open outer', 'open inner', 'close inner', 'close outer']);
  });

  it('needs no metadata where the decorator says what it is', async () => {
    expect(await lastValueFrom(prices.declared())).toBe(2);
    await expect(lastValueFrom(prices.liar())).rejects.toThrow('Prices.liar did not return an Observable');
  });

  it.each(['unsaid', 'late'] as const)(
    'that nothing had told of (%s) is refused, saying what to write',
    async (name) => {
      const refused = Promise.resolve(prices[name]());
      await expect(refused).rejects.toThrow(ConfigurationError);
      await expect(refused).rejects.toThrow(new RegExp(`^Prices\\.${name} .*@Scoped.*returns: 'observable'.*metadata`));
    },
  );

  it('of an instance without a runtime fails at its subscription, and of one marked so is bare', async () => {
    await expect(lastValueFrom(new Prices().watch())).rejects.toThrow('so it has no runtime');
    expect(await lastValueFrom(withoutGuarantees(new Prices()).watch())).toBe(2);
  });
});

function throwIt(): never {
  throw gone;
}
