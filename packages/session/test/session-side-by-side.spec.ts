import 'reflect-metadata';
import { setImmediate as turn } from 'node:timers/promises';
import {
  CurrentSession,
  MemorySessionStore,
  type ReplaceOutcome,
  type ReplaceRequest,
  type SaveOutcome,
  type SaveRequest,
  type SessionRef,
} from '@lockstep/session';
import { Controller, Get, Post } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';

/** Answers some turns of the event loop after it has done its step. */
class LateStore extends MemorySessionStore {
  override async save(request: SaveRequest): Promise<SaveOutcome> {
    return late(await super.save(request));
  }

  override async replace(request: ReplaceRequest): Promise<ReplaceOutcome> {
    return late(await super.replace(request));
  }
}

async function late<T>(answer: T): Promise<T> {
  for (let count = 0; count < 10; count += 1) await turn();
  return answer;
}

/** Handlers that do two things to their session at once. */
@Controller()
class HastyController {
  @Get()
  read(@CurrentSession() session: SessionRef): object {
    const attributes = Object.fromEntries(session.names.map((name) => [name, session.get(name)]));
    return { user: session.principal?.id ?? null, ...attributes };
  }

  @Post('begin')
  begin(@CurrentSession() session: SessionRef): object {
    session.set('cart', ['tea']);
    return {};
  }

  @Post('login-then-push')
  async loginThenPush(@CurrentSession() session: SessionRef): Promise<object> {
    const cart = session.get<string[]>('cart');
    await session.login({ id: 'ann' });
    cart?.push('milk');
    return {};
  }

  @Post('set-while-login')
  async setWhileLogin(@CurrentSession() session: SessionRef): Promise<object> {
    const login = session.login({ id: 'ann' });
    await turn();
    session.set('seen', true);
    await login;
    return {};
  }

  @Post('delete-new-while-save')
  async deleteNewWhileSave(@CurrentSession() session: SessionRef): Promise<object> {
    session.set('flash', 'hello');
    await this.deleteWhileSave(session, 'flash');
    return {};
  }

  @Post('delete-changed-while-save')
  async deleteChangedWhileSave(@CurrentSession() session: SessionRef): Promise<object> {
    session.get<string[]>('cart')?.push('milk');
    await this.deleteWhileSave(session, 'cart');
    return {};
  }

  @Post('login-and-leave')
  loginAndLeave(@CurrentSession() session: SessionRef): object {
    void session.login({ id: 'ann' });
    return {};
  }

  @Post('count')
  async count(@CurrentSession() session: SessionRef): Promise<object> {
    return { count: await session.update<number>('count', (count = 0) => count + 1) };
  }

  @Post('save-in-update')
  async saveInUpdate(@CurrentSession() session: SessionRef): Promise<object> {
    const failed = await session
      .update('count', async () => {
        await session.save();
        return 1;
      })
      .catch((error: unknown) => error);
    return { failed: String(failed) };
  }

  private async deleteWhileSave(session: SessionRef, name: string): Promise<void> {
    const save = session.save();
    await turn();
    session.delete(name);
    await save;
  }
}

describe.each(PLATFORMS)('a request that does two things to its session at once (%s)', (platform) => {
  let http: HttpApp;

  beforeAll(async () => {
    const store = new LateStore();
    http = await startHttpApp({
      platform,
      controllers: [HastyController],
      session: { store: { useFactory: () => store } },
    });
  });

  afterAll(() => http.close());

  /** What a browser that has a session reads after it was posted to `path`. */
  async function readAfter(path: string): Promise<unknown> {
    const browser = new Browser(http.url);
    await browser.post('/begin');
    expect((await browser.post(path)).status).toBe(201);
    return (await browser.get('/')).json;
  }

  test('a value that is changed in place after a login, and was read before it, is saved', async () => {
    expect(await readAfter('/login-then-push')).toEqual({ user: 'ann', cart: ['tea', 'milk'] });
  });

  test('what is set while a login is under way is saved', async () => {
    expect(await readAfter('/set-while-login')).toEqual({ user: 'ann', cart: ['tea'], seen: true });
  });

  test('a new attribute that is deleted while it is being saved is gone', async () => {
    expect(await readAfter('/delete-new-while-save')).toEqual({ user: null, cart: ['tea'] });
  });

  test('an attribute that is deleted while its change in place is being saved is gone', async () => {
    expect(await readAfter('/delete-changed-while-save')).toEqual({ user: null });
  });

  test('the answer waits for a login that its handler did not wait for, and brings the token', async () => {
    expect(await readAfter('/login-and-leave')).toEqual({ user: 'ann', cart: ['tea'] });
  });

  test('forty updates of one attribute at once all take effect', async () => {
    const browser = new Browser(http.url);
    await browser.post('/begin');
    const answers = await Promise.all(Array.from({ length: 40 }, () => browser.clone().post('/count')));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    expect((await browser.get('/')).json).toMatchObject({ count: 40 });
  });

  test('a step within the function of an update is refused, where it would wait for itself', async () => {
    const browser = new Browser(http.url);
    const { json } = await browser.post('/save-in-update');
    expect(json.failed).toMatch(/SessionMisuseError.*can only compute/);
  });
});
