import 'reflect-metadata';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import {
  CurrentSession,
  SessionEndedError,
  type SessionEvent,
  SessionMisuseError,
  type SessionRef,
  SessionTooLargeError,
} from '@lockstep/session';
import { eventually } from '@lockstep/testing';
import { Controller, Get, Post, Res } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, startHttpApp } from './support/http-app.js';
import { down, ShakyStore } from './support/shaky-store.js';

type Script = (session: SessionRef, response: ServerResponse) => unknown;

/** Its handler is whatever a test says. */
@Controller()
class ScriptController {
  static script: Script = () => undefined;

  @Post('run')
  async run(
    @CurrentSession() session: SessionRef,
    @Res({ passthrough: true }) response: ServerResponse,
  ): Promise<object> {
    return { result: (await ScriptController.script(session, response)) ?? null };
  }

  @Get('all')
  all(@CurrentSession() session: SessionRef): object {
    return Object.fromEntries(session.names.map((name) => [name, session.get(name)]));
  }
}

describe('what one request does to its session at the same time', () => {
  const store = new ShakyStore();
  let shop: HttpApp;
  beforeAll(async () => {
    const session = { store: store.driver, maxBytes: 1_000 };
    shop = await startHttpApp({ platform: 'express', controllers: [ScriptController], session });
  });
  afterAll(() => shop.close());
  afterEach(() => store.mend());

  async function run(browser: Browser, script: Script): ReturnType<Browser['post']> {
    let failure: { readonly error: unknown } | undefined;
    ScriptController.script = async (session, response) => {
      try {
        return await script(session, response);
      } catch (error) {
        failure = { error };
        throw error;
      }
    };
    const answer = await browser.post('/run');
    if (failure) throw failure.error;
    return answer;
  }
  async function begun(script: Script = (session) => session.set('color', 'red')): Promise<Browser> {
    const browser = new Browser(shop.url);
    await run(browser, script);
    return browser;
  }
  const allOf = async (browser: Browser): Promise<unknown> => (await browser.get('/all')).json;
  /** Does something once while the store is at a step, before the answer of the step. */
  function during(step: string, act: () => void): void {
    let isDone = false;
    store.failure = (asked) => {
      if (asked !== step || isDone) return undefined;
      isDone = true;
      act();
      return undefined;
    };
  }

  it.each(['visitor', 'session'])('keeps what is set while a login of a %s is under way', async (who) => {
    const browser = who === 'visitor' ? new Browser(shop.url) : await begun();
    await run(browser, async (session) => {
      session.set('cart', ['tea']);
      during(who === 'visitor' ? 'create' : 'replace', () => session.set('late', 1));
      await session.login({ id: 'ann' });
    });
    expect(await allOf(browser)).toMatchObject({ cart: ['tea'], late: 1 });
  });

  it('keeps what is set while a login that leaves attributes behind is under way, and only that', async () => {
    const browser = await begun();
    await run(browser, async (session) => {
      session.set('cart', ['tea']);
      during('replace', () => session.set('late', 1));
      await session.login({ id: 'ann' }, { keepAttributes: false });
    });
    expect(await allOf(browser)).toEqual({ late: 1 });
  });

  it.each(['login', 'rotate'] as const)(
    'keeps what is changed in place after a %s in what was read before it',
    async (step) => {
      const browser = await begun((session) => session.set('cart', ['tea']));
      await run(browser, async (session) => {
        const cart = session.get<string[]>('cart');
        await (step === 'login' ? session.login({ id: 'ann' }) : session.rotate());
        cart?.push('milk');
      });
      expect(await allOf(browser)).toEqual({ cart: ['tea', 'milk'] });
    },
  );

  it.each(['create', 'save'])('deletes what is deleted while a %s of it is under way', async (step) => {
    const browser = step === 'create' ? new Browser(shop.url) : await begun();
    await run(browser, async (session) => {
      session.set('late', 1);
      during(step, () => session.delete('late'));
      await session.save();
    });
    expect(await allOf(browser)).toEqual(step === 'create' ? {} : { color: 'red' });
  });

  it('deletes what is deleted while a change in place of it is saved', async () => {
    const browser = await begun((session) => session.set('cart', ['tea']));
    await run(browser, async (session) => {
      session.get<string[]>('cart')?.push('milk');
      during('save', () => session.delete('cart'));
      await session.save();
    });
    expect(await allOf(browser)).toEqual({});
  });

  it('keeps what is set anew while it is saved', async () => {
    const browser = await begun();
    await run(browser, async (session) => {
      session.set('color', 'blue');
      during('save', () => session.set('color', 'green'));
      await session.save();
    });
    expect(await allOf(browser)).toEqual({ color: 'green' });
  });

  it('writes nothing of an update that was answered as not applied', async () => {
    const browser = new Browser(shop.url);
    await run(browser, async (session) => {
      store.failure = (step) => down(step);
      await expect(session.update('count', () => 1)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
      store.mend();
      session.set('other', true);
    });
    expect(await allOf(browser)).toEqual({ other: true });
  });

  it('refuses an update that makes all attributes together too large', async () => {
    const browser = await begun((session) => session.set('text', 'x'.repeat(900)));
    await run(browser, async (session) => {
      await expect(session.update('more', () => 'x'.repeat(200))).rejects.toThrow(SessionTooLargeError);
    });
    expect(await allOf(browser)).not.toHaveProperty('more');
  });

  it('forgets by reload what a visitor has set', async () => {
    const browser = new Browser(shop.url);
    await run(browser, async (session) => {
      session.set('color', 'red');
      await session.reload();
      expect(session.get('color')).toBeUndefined();
    });
    expect(browser.token).toBeUndefined();
  });

  it('refuses what is set once it is known that the session has ended', async () => {
    const browser = await begun((session) => session.login({ id: 'eve' }));
    await run(browser, async (session) => {
      await shop.sessions.revokeAll({ id: 'eve' });
      await session.reload();
      expect(() => session.set('color', 'red')).toThrow(SessionEndedError);
      expect(() => session.delete('color')).toThrow(SessionEndedError);
      await session.login({ id: 'eve' });
      session.set('color', 'blue');
    });
    expect(await allOf(browser)).toEqual({ color: 'blue' });
  });

  it('tells a new id also with the error that the answer became, so that nobody is logged out by it', async () => {
    const browser = await begun();
    const before = browser.token;
    const answer = await run(browser, async (session) => {
      await session.rotate();
      session.set('late', 1);
      store.failure = (step) => (step === 'save' ? down(step) : undefined);
    });
    expect(answer.status).toBe(503);
    expect(browser.token).not.toBe(before);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    store.mend();
    expect(await allOf(browser)).toEqual({ color: 'red' });
  });

  it('saves what is set while its client leaves and the answer waits to be saved', async () => {
    const browser = await begun();
    const leaving = new AbortController();
    const request = new Promise<void>((resolve) => {
      ScriptController.script = (session, response) => {
        session.set('color', 'blue');
        store.failure = async (step) => {
          if (step !== 'save') return undefined;
          store.mend();
          leaving.abort();
          await once(response, 'close');
          session.set('late', 1);
          // After the look of a change that comes when all is over.
          await new Promise((later) => setImmediate(() => setImmediate(later)));
          resolve();
          return undefined;
        };
      };
    });
    await expect(browser.get('/run', { method: 'POST', signal: leaving.signal })).rejects.toThrow();
    await request;
    await eventually(async () => expect(await allOf(browser)).toEqual({ color: 'blue', late: 1 }));
  });

  it('takes steps that are called together one after the other', async () => {
    const browser = await begun();
    const events: SessionEvent[] = [];
    const end = shop.sessions.subscribe((event) => events.push(event));
    await run(browser, async (session) => {
      session.set('cart', ['tea']);
      await Promise.all([
        session.save(),
        session.update<number>('count', (count = 0) => count + 1),
        session.login({ id: 'joe' }),
        session.update<number>('count', (count = 0) => count + 1),
        session.rotate(),
      ]);
    });
    end();
    expect(await allOf(browser)).toEqual({ color: 'red', cart: ['tea'], count: 2 });
    expect(events.map(({ type }) => type)).toEqual(['login', 'renewed']);
    expect(await shop.sessions.list({ id: 'joe' })).toHaveLength(1);
  });

  it('refuses a name that is none before anything is asked of the store', async () => {
    await run(await begun(), async (session) => {
      store.asked.length = 0;
      await expect(session.update('__proto__', () => 1)).rejects.toThrow(SessionMisuseError);
      expect(store.asked).toEqual([]);
    });
  });
});
