import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { eventually, withoutGuarantees } from '@lockstep/testing';
import { Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inScope, Scoped, Scopes, ScopesModule } from './support/scoped.decorator.js';

const gone = new Error('sold out');
const user = new AsyncLocalStorage<string>();

@Injectable()
class Pages {
  readonly #size = 3;
  readonly seen: unknown[] = [];

  @Scoped()
  async *pages(first = 1): AsyncGenerator<number, string, string | undefined> {
    try {
      for (let page = first; page < first + this.#size; page++) {
        this.seen.push(inScope.getStore(), user.getStore());
        this.seen.push(yield page);
      }
      return 'end';
    } finally {
      this.seen.push('cleaned up', inScope.getStore());
    }
  }

  @Scoped('outer')
  @Scoped('inner')
  async *twice(): AsyncGenerator<number> {
    yield 1;
  }

  @Scoped()
  async *failing(): AsyncGenerator<number> {
    yield 1;
    throw gone;
  }

  @Scoped()
  async *refusing(_sku = refuse()): AsyncGenerator<number> {}

  @Scoped()
  delegating(): AsyncGenerator<number> {
    return this.twice();
  }
}

let app: TestingModule;
let pages: Pages;
let scopes: Scopes;
beforeEach(async () => {
  app = await Test.createTestingModule({ imports: [ScopesModule], providers: [Pages] }).compile();
  await app.init();
  pages = app.get(Pages);
  scopes = app.get(Scopes);
});
afterEach(() => app.close());

function refuse(): string {
  throw gone;
}

async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const value of values) collected.push(value);
  return collected;
}

describe('a guarded async generator', () => {
  it('is one to whoever looks, and has not begun before it is asked for its first value', async () => {
    const method = Object.getOwnPropertyDescriptor(Pages.prototype, 'pages')?.value;
    expect(Object.prototype.toString.call(method)).toBe('[object AsyncGeneratorFunction]');
    expect([method.name, method.length]).toEqual(['pages', 0]);
    const generator = pages.pages();
    expect(Object.prototype.toString.call(generator)).toBe('[object AsyncGenerator]');
    expect(scopes.events).toEqual([]);
    expect(await generator.next()).toEqual({ done: false, value: 1 });
    expect(scopes.events).toEqual(['open scope']);
    await generator.return('left');
  });

  it('passes values, arguments, what it is sent and what it returns', async () => {
    const generator = pages.pages(7);
    expect(await generator.next()).toEqual({ done: false, value: 7 });
    expect(await generator.next('sent')).toEqual({ done: false, value: 8 });
    expect(pages.seen).toContain('sent');
    await generator.next();
    expect(await generator.next()).toEqual({ done: true, value: 'end' });
    expect(scopes.outcomes).toEqual([{ status: 'completed', result: 'end' }]);
    expect(await generator.next()).toEqual({ done: true, value: undefined });
    expect(await generator.return('x')).toEqual({ done: true, value: 'x' });
    await expect(generator.throw(gone)).rejects.toBe(gone);
    expect(scopes.events).toEqual(['open scope', 'close scope']);
  });

  it('runs within the scope on every resumption, in the context of whoever asks', async () => {
    const generator = pages.pages();
    for (const name of ['ann', 'bob', 'cid']) await user.run(name, () => generator.next());
    const inside = pages.seen.filter((seen) => seen !== undefined);
    expect(inside).toEqual(['scope', 'ann', 'scope', 'bob', 'scope', 'cid']);
    expect(inScope.getStore()).toBeUndefined();
    await generator.return('left');
    expect(pages.seen.slice(-2)).toEqual(['cleaned up', 'scope']);
  });

  it('closes its scope when the consumer breaks off, after the cleaning up of the body', async () => {
    scopes.onClose = async () => void pages.seen.push('closed');
    for await (const page of pages.pages()) if (page === 2) break;
    expect(pages.seen.slice(-3)).toEqual(['cleaned up', 'scope', 'closed']);
    const error = await collect(stumbling(pages.pages())).catch((caught: unknown) => caught);
    expect(error).toBe(gone);
    expect(scopes.outcomes).toHaveLength(2);
  });

  it('passes errors through by identity and closes its scope, also where a parameter throws', async () => {
    for (const generator of [pages.failing(), pages.refusing()]) {
      await expect(collect(generator)).rejects.toBe(gone);
      expect(await generator.next()).toEqual({ done: true, value: undefined });
    }
    const thrown = pages.pages();
    await thrown.next();
    await expect(thrown.throw(gone)).rejects.toBe(gone);
    expect(scopes.outcomes).toEqual(Array(3).fill({ status: 'failed', error: gone }));
  });

  it('that is ended before it began opens no scope', async () => {
    expect(await pages.pages().return('left')).toEqual({ done: true, value: 'left' });
    await expect(pages.pages().throw(gone)).rejects.toBe(gone);
    const disposed = pages.pages();
    await disposed[Symbol.asyncDispose]();
    expect(await disposed.next()).toEqual({ done: true, value: undefined });
    expect([scopes.events, pages.seen]).toEqual([[], []]);
  });

  it('that is ended while its scope is opened gives the waiting up', async () => {
    scopes.onOpen = ({ signal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    for (const opened of [[], ['open scope']]) {
      const generator = pages.pages();
      const first = generator.next();
      if (opened.length > 0) await eventually(() => expect(scopes.events).toEqual(opened));
      const answers = [first, generator.return('left')];
      expect(await Promise.all(answers)).toEqual([
        { done: true, value: undefined },
        { done: true, value: 'left' },
      ]);
      expect(scopes.events).toEqual(opened);
    }
    expect([pages.seen, scopes.outcomes]).toEqual([[], []]);
  });

  it('fails with what the scope cannot open with, and is then over', async () => {
    scopes.onOpen = async () => void refuse();
    const generator = pages.pages();
    await expect(generator.next()).rejects.toBe(gone);
    expect(await generator.next()).toEqual({ done: true, value: undefined });
    expect([pages.seen, scopes.outcomes]).toEqual([[], []]);
  });

  it('fails in place of its end, or of its being left, with what the scope closes with', async () => {
    scopes.onClose = async () => void refuse();
    const values: number[] = [];
    const read = async () => {
      for await (const page of pages.pages()) values.push(page);
    };
    await expect(read()).rejects.toBe(gone);
    expect(values).toEqual([1, 2, 3]);
    const left = async () => {
      for await (const _ of pages.pages()) break;
    };
    await expect(left()).rejects.toBe(gone);
  });

  it('answers requests that do not wait for each other in their order, in one scope', async () => {
    const generator = pages.pages();
    const answers = await Promise.all([1, 2, 3, 4, 5].map(() => generator.next()));
    expect(answers.map(({ value }) => value)).toEqual([1, 2, 3, 'end', undefined]);
    expect(scopes.events).toEqual(['open scope', 'close scope']);
  });

  it('may be guarded twice: the upper one is opened first and closed last', async () => {
    expect(await collect(pages.twice())).toEqual([1]);
    expect(scopes.events).toEqual(['open outer', 'open inner', 'close inner', 'close outer']);
  });

  it('that a plain method hands on is refused, saying what to write', async () => {
    const refused = Promise.resolve(pages.delegating() as unknown);
    await expect(refused).rejects.toThrow(/^Pages\.delegating .*@Scoped.*'async \*'/);
    expect(scopes.events).toEqual(['around scope']);
  });

  it('of an instance without a runtime fails at its first value, and of one marked so is bare', async () => {
    await expect(new Pages().pages().next()).rejects.toThrow('so it has no runtime');
    expect(await collect(withoutGuarantees(new Pages()).pages())).toEqual([1, 2, 3]);
  });
});

/** A consumer that fails at the second value. */
async function* stumbling(values: AsyncIterable<number>): AsyncGenerator<number> {
  for await (const value of values) {
    if (value === 2) throw gone;
    yield value;
  }
}
