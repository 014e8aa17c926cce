import 'reflect-metadata';
import { CurrentSession, type SessionRef } from '@lockstep/session';
import { Controller, Post, Req } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { ShopController } from './support/shop.controller.js';

type Callback = (error?: unknown) => void;

interface ObjectRequest {
  session: Record<string, unknown> & {
    destroy(done: Callback): void;
    save(done: Callback): void;
    regenerate(done: Callback): void;
  };
}

function thrownBy(step: () => unknown): string {
  try {
    step();
    return 'nothing';
  } catch (error) {
    return (error as Error).name;
  }
}

@Controller('object')
class ObjectController {
  @Post('refused')
  refused(@Req() request: ObjectRequest): string[] {
    const { session } = request;
    return [
      () => Object.assign(request, { session: null }),
      () => Object.assign(request, { session: {} }),
      () => Object.assign(session, { id: 'mine' }),
      () => Object.assign(session, { cookie: {} }),
      () => Object.assign(session, { save: 1 }),
      () => Object.assign(session, JSON.parse('{"__proto__":{"isAdmin":true}}')),
      () => Object.assign(session['cookie'] as object, { maxAge: 1 }),
      () => Object.freeze(session),
      () => Object.defineProperty(session, 'a', { get: () => 1, configurable: true }),
      () => Object.setPrototypeOf(session, {}) as unknown,
    ].map(thrownBy);
  }

  @Post('seen')
  seen(@Req() { session }: ObjectRequest, @CurrentSession() ref: SessionRef): object {
    ref.set('save', 'an attribute of this name is for SessionRef alone');
    session['color'] = 'red';
    return {
      keys: Object.keys(session),
      has: ['save' in session, 'color' in session, 'size' in session],
      save: typeof session.save,
    };
  }

  @Post('destroy')
  async destroy(@Req() { session }: ObjectRequest): Promise<object> {
    await new Promise<void>((resolve, reject) => session.destroy((error) => (error ? reject(error) : resolve())));
    return { keys: Object.keys(session) };
  }

  @Post('former')
  async former(@Req() request: ObjectRequest): Promise<object> {
    const { session } = request;
    session['color'] = 'red';
    await new Promise<void>((resolve) => session.regenerate(() => resolve()));
    session['color'] = 'blue';
    const error = await new Promise((resolve) => session.save(resolve));
    return {
      isAnother: request.session !== session,
      now: { ...request.session },
      was: { ...session },
      error: (error as Error).name,
    };
  }

  /** Finds its session ended by another request, and logs its user in. */
  @Post('login-after-end')
  async loginAfterEnd(@CurrentSession() session: SessionRef): Promise<object> {
    const gate = ShopController.gates.get('object');
    gate?.entered();
    await gate?.opened;
    session.set('color', 'lost');
    const ended = await session.save().catch((error: Error) => error.name);
    await session.login({ id: 'alice' });
    session.set('color', 'kept');
    return { ended };
  }
}

describe.each(PLATFORMS)('req.session on %s', (platform) => {
  let shop: HttpApp;
  beforeAll(async () => {
    shop = await startHttpApp({ platform, controllers: [ShopController, ObjectController] });
  });
  afterAll(() => shop.close());

  it('refuses what it cannot keep, and null, by which a user would seem to be logged out', async () => {
    const { json } = await new Browser(shop.url).post('/object/refused');
    expect(json).toEqual([
      ...Array.from({ length: 6 }, () => 'SessionMisuseError'),
      ...Array.from({ length: 4 }, () => 'TypeError'),
    ]);
  });

  it('has attributes as its properties, and its methods are none', async () => {
    const { json } = await new Browser(shop.url).post('/object/seen');
    expect(json).toEqual({ keys: ['color'], has: [true, true, false], save: 'function' });
  });

  it('ends by destroy, and takes the cookie', async () => {
    const browser = new Browser(shop.url);
    await browser.post('/login/alice');
    const thief = browser.clone();
    expect((await browser.post('/object/destroy')).json).toEqual({ keys: [] });
    expect(browser.token).toBeUndefined();
    expect((await thief.get('/read/color')).json).toMatchObject({ exists: false });
  });

  it('is another one after regenerate; the former keeps what was in it and can be saved nowhere', async () => {
    const browser = new Browser(shop.url);
    await browser.post('/set/size', { value: 3 });
    const was = { size: 3, color: 'blue' };
    expect((await browser.post('/object/former')).json).toEqual({
      isAnother: true,
      now: {},
      was,
      error: 'SessionMisuseError',
    });
    expect(browser.token).toBeUndefined();
  });

  it('keeps what is set after a login, though another request had ended the session before', async () => {
    const browser = new Browser(shop.url);
    await browser.post('/set/color', { value: 'red' });
    const { name, entered, open } = ShopController.gate();
    const gate = ShopController.gates.get(name);
    if (gate) ShopController.gates.set('object', gate);
    const slow = browser.clone();
    const answer = slow.post('/object/login-after-end');
    await entered;
    await browser.post('/logout');
    open();
    expect((await answer).json).toEqual({ ended: 'SessionEndedError' });
    expect((await slow.get('/read/color')).json).toEqual({ value: 'kept', principal: 'alice', exists: true });
  });
});
