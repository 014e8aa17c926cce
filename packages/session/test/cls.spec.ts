import 'reflect-metadata';
import type { SessionRef } from '@lockstep/session';
import { type SessionClsStore, sessionClsSetup } from '@lockstep/session/cls';
import { Controller, Get, Inject, Param, Post } from '@nestjs/common';
import { ClsModule, ClsService, type ClsStore } from 'nestjs-cls';
import { afterEach, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';

@Controller()
class ClsController {
  constructor(@Inject(ClsService) private readonly cls: ClsService<SessionClsStore & ClsStore>) {}

  @Get('who')
  async who(): Promise<object> {
    await new Promise((resolve) => setImmediate(resolve));
    return { user: this.cls.get('user')?.id ?? null, color: this.session.get('color') ?? null };
  }

  @Post('login/:id')
  async login(@Param('id') id: string): Promise<object> {
    const before = this.cls.get('user')?.id ?? null;
    await this.session.login({ id });
    this.session.set('color', id);
    const after = this.cls.get('user')?.id;
    await this.session.logout();
    const gone = this.cls.get('user')?.id ?? null;
    await this.session.login({ id });
    this.session.set('color', id);
    return { before, after, gone };
  }

  private get session(): SessionRef {
    const session = this.cls.get('session');
    if (!session) throw new Error('no session');
    return session;
  }
}

let app: HttpApp | undefined;
afterEach(() => app?.close());

const MOUNTED = {
  middleware: { middleware: { mount: true, setup: sessionClsSetup } },
  guard: { guard: { mount: true, setup: sessionClsSetup } },
  interceptor: { interceptor: { mount: true, setup: sessionClsSetup } },
};

describe.each(PLATFORMS)('nestjs-cls on %s', (platform) => {
  it.each(Object.entries(MOUNTED))(
    'has the session of the request and its user of now, set up by its %s',
    async (_, by) => {
      app = await startHttpApp({
        platform,
        controllers: [ClsController],
        imports: [ClsModule.forRoot({ global: true, ...by })],
      });
      const { url } = app;
      const browsers = ['alice', 'bob', 'carol'].map((id) => ({ id, browser: new Browser(url) }));
      await Promise.all(
        browsers.map(async ({ id, browser }) => {
          expect((await browser.post(`/login/${id}`)).json).toEqual({ before: null, after: id, gone: null });
        }),
      );
      const seen = await Promise.all(browsers.map(({ browser }) => browser.get('/who')));
      expect(seen.map(({ json }) => json)).toEqual(browsers.map(({ id }) => ({ user: id, color: id })));
      expect((await new Browser(url).get('/who')).json).toEqual({ user: null, color: null });
    },
  );
});
