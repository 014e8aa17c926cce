import 'reflect-metadata';
import { request as httpRequest } from 'node:http';
import { createRequire } from 'node:module';
import {
  CurrentSession,
  NoSession,
  OnSessionStoreDown,
  ReadonlySession,
  RequireSession,
  SessionAttr,
  type SessionRef,
  SessionService,
} from '@lockstep/session';
import {
  All,
  Controller,
  Get,
  Inject,
  Module,
  Post,
  RequestMethod,
  Session,
  type Type,
  VERSION_NEUTRAL,
  Version,
  VersioningType,
} from '@nestjs/common';
import { RouterModule } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, type HttpAppInit, PLATFORMS, startHttpApp } from './support/http-app.js';
import { ShakyStore } from './support/shaky-store.js';

/** Begins a session, and tells how handlers see theirs. */
@Controller()
class BasicController {
  constructor(@Inject(SessionService) private readonly sessions: SessionService) {}

  @Post('begin')
  begin(@CurrentSession() session: SessionRef): object {
    session.set('color', 'red');
    return { ok: true };
  }

  @NoSession()
  @Get(['health', 'ready/:probe'])
  health(): object {
    return this.seen();
  }

  @Get('items/special')
  special(): object {
    return this.seen();
  }

  @NoSession()
  @Get('items/:id')
  item(): object {
    return this.seen();
  }

  @NoSession()
  @Get('files/*')
  files(): object {
    return this.seen();
  }

  @NoSession()
  @Get('pages/about')
  about(): object {
    return this.seen();
  }

  @Get('pages/*')
  pages(): object {
    return this.seen();
  }

  @NoSession()
  @All('any')
  any(): object {
    return this.seen();
  }

  @Post('only-post')
  @NoSession()
  onlyPost(): object {
    return this.seen();
  }

  @Get('only-post')
  onlyGet(): object {
    return this.seen();
  }

  private seen(): object {
    try {
      return { color: this.sessions.current.get('color') ?? null };
    } catch (error) {
      return { refused: (error as Error).message };
    }
  }
}

const REFUSED = { refused: expect.stringMatching(/@NoSession\(\)/) };

describe.each(PLATFORMS)('a route on %s that says what it needs of a session', (platform) => {
  let store: ShakyStore;
  let shop: HttpApp | undefined;
  let browser: Browser;
  beforeEach(() => {
    store = new ShakyStore();
  });
  afterEach(() => shop?.close());

  async function start(init: Partial<HttpAppInit>, begin = '/begin'): Promise<void> {
    shop = await startHttpApp({ platform, controllers: [BasicController], session: { store: store.driver }, ...init });
    browser = new Browser(shop.url);
    await browser.post(begin);
    expect(browser.token).toBeDefined();
  }

  /** What was answered, and how many sessions were read for it. */
  async function ask(path: string, method = 'GET'): Promise<{ json: unknown; loads: number; status: number }> {
    const before = store.loads;
    const { json, status } = await browser.get(path, { method });
    return { json, status, loads: store.loads - before };
  }

  it('has no session read where it is marked with @NoSession(), however its path is written', async () => {
    await start({});
    for (const path of [
      '/health',
      '/health?x=1',
      '/ready/live',
      '/files/a/b.css',
      '/any',
      '/items/7',
      '/pages/about',
    ]) {
      expect(await ask(path), path).toEqual({ json: REFUSED, loads: 0, status: 200 });
    }
    expect(await ask('/any', 'DELETE')).toMatchObject({ json: REFUSED, loads: 0 });
    expect(await ask('/only-post', 'POST')).toMatchObject({ json: REFUSED, loads: 0 });
    expect(await ask('/health', 'HEAD')).toMatchObject({ loads: 0, status: 200 });
  });

  it('has its session read where another route of the same path has none', async () => {
    await start({});
    expect(await ask('/only-post')).toEqual({ json: { color: 'red' }, loads: 1, status: 200 });
    expect(await ask('/items/special')).toEqual({ json: { color: 'red' }, loads: 1, status: 200 });
    expect(await ask('/pages/other')).toEqual({ json: { color: 'red' }, loads: 1, status: 200 });
    expect(await ask('/healthy')).toMatchObject({ status: 404 });
  });

  it('is told apart by case, slash and encoding as the framework does it', async () => {
    await start({});
    for (const path of ['/HEALTH', '/health/', '/%68ealth', '//health', '/health%2F', '/health;x', '/%']) {
      const { json, status, loads } = await ask(path);
      if (status === 200) expect(json, path).toEqual(REFUSED);
      else expect(status, path).toBeLessThan(500);
      if (status === 200) expect(loads, path).toBe(0);
    }
  });

  it('is told apart by case and slash where the framework was told to', async () => {
    const strict = ownExpress();
    strict.set('case sensitive routing', true);
    strict.set('strict routing', true);
    const adapter =
      platform === 'express'
        ? new ExpressAdapter(strict)
        : new FastifyAdapter({ routerOptions: { caseSensitive: false, ignoreTrailingSlash: true } });
    await start({ adapter });
    const differs = platform === 'express' ? 404 : 200;
    for (const path of ['/HEALTH', '/health/']) {
      const { status, loads } = await ask(path);
      expect({ path, status }).toEqual({ path, status: differs });
      expect(loads).toBe(differs === 200 ? 0 : 1);
    }
  });

  it('is found under a global prefix, which it may be excluded from, and under a version', async () => {
    await start(
      {
        configure: (app) => {
          app.setGlobalPrefix('api', { exclude: ['health', { path: 'files/*path', method: RequestMethod.GET }] });
        },
      },
      '/api/begin',
    );
    expect(await ask('/health')).toMatchObject({ json: REFUSED, loads: 0 });
    expect(await ask('/api/ready/live')).toMatchObject({ json: REFUSED, loads: 0 });
    expect(await ask('/api/any')).toMatchObject({ json: REFUSED, loads: 0 });
    expect(await ask('/api/only-post')).toMatchObject({ json: { color: 'red' }, loads: 1 });
    expect((await ask('/api/health')).status).toBe(404);
  });

  it('is found under the versions of its path, and under the path of its module', async () => {
    @Controller({ path: ['shop', 'store'], version: ['1', VERSION_NEUTRAL] })
    class VersionedController {
      constructor(@Inject(SessionService) readonly sessions: SessionService) {}

      @NoSession()
      @Get('bare')
      bare(): string {
        return 'bare';
      }

      @Version('2')
      @Get('bare')
      second(): object {
        return { color: this.sessions.current.get('color') };
      }
    }
    @Controller('inner')
    class InnerController {
      @NoSession()
      @Get()
      bare(): string {
        return 'inner';
      }
    }
    @Module({ controllers: [InnerController] })
    class InnerModule {}
    await start(
      {
        controllers: [BasicController, VersionedController],
        imports: [InnerModule, RouterModule.register([{ path: 'outer', module: InnerModule }])],
        configure: (app) => app.setGlobalPrefix('api').enableVersioning({ type: VersioningType.URI }),
      },
      '/api/begin',
    );
    for (const path of ['/api/v1/shop/bare', '/api/v1/store/bare', '/api/shop/bare', '/api/outer/inner']) {
      expect(await ask(path), path).toMatchObject({ status: 200, loads: 0 });
    }
    expect(await ask('/api/v2/store/bare')).toMatchObject({ json: { color: 'red' }, loads: 1 });
  });

  it('has its session read, and not given, where a header or the host decides', async () => {
    @Controller({ path: 'by-header', version: '1' })
    class HeaderController {
      constructor(@Inject(SessionService) readonly sessions: SessionService) {}

      @NoSession()
      @Get()
      bare(): object {
        expect(() => this.sessions.current.get('color')).toThrow(/@NoSession/);
        expect(() => this.sessions.current.set('color', 1)).toThrow(/@NoSession/);
        return { ok: true };
      }
    }
    @Controller({ path: 'by-host', host: '127.0.0.1' })
    class HostController extends HeaderController {}
    await start({
      controllers: [BasicController, HeaderController, HostController],
      configure: (app) => app.enableVersioning({ type: VersioningType.HEADER, header: 'x-version' }),
    });
    const before = store.loads;
    const answer = await browser.get('/by-header', { headers: { 'x-version': '1' } });
    expect(answer.json).toEqual({ ok: true });
    expect(store.loads - before).toBe(1);
    expect(await ask('/by-host')).toEqual({ json: { ok: true }, loads: 1, status: 200 });
  });

  it('has no session in any handler of a controller that is marked', async () => {
    @NoSession()
    @Controller('bare')
    class BareController {
      constructor(@Inject(SessionService) readonly sessions: SessionService) {}

      @Get()
      get(): object {
        return { principal: this.sessions.current.principal ?? null };
      }

      @Post()
      write(): void {
        this.sessions.current.set('color', 'blue');
      }
    }
    await start({ controllers: [BasicController, BareController] });
    expect(await ask('/bare')).toMatchObject({ json: { principal: null }, loads: 0 });
    expect(await ask('/bare', 'POST')).toMatchObject({ status: 500, json: { code: 'SESSION_MISUSE' }, loads: 0 });
    expect(store.asked.filter((step) => step === 'save')).toEqual([]);
  });

  it('tells nothing of a request whose target is no path', async () => {
    await start({});
    expect(await statusOf(shop?.url ?? '', 'http://elsewhere/health')).toBeLessThan(500);
    expect(await statusOf(shop?.url ?? '', '*')).toBeLessThan(500);
  });

  it.each<[string, () => Type]>([
    [
      '@RequireSession()',
      () => {
        @Controller()
        class Contradicting {
          @RequireSession()
          @NoSession()
          @Get()
          get(): void {}
        }
        return Contradicting;
      },
    ],
    [
      '@ReadonlySession()',
      () => {
        @Controller()
        class Contradicting {
          @NoSession()
          @ReadonlySession()
          @Get()
          get(): void {}
        }
        return Contradicting;
      },
    ],
    [
      'a parameter that takes from the session',
      () => {
        @Controller()
        class Contradicting {
          @NoSession()
          @Get()
          get(@CurrentSession() _session: SessionRef): void {}
        }
        return Contradicting;
      },
    ],
    [
      'a parameter that takes from the session',
      () => {
        @Controller()
        class Contradicting {
          @NoSession()
          @Get()
          get(@SessionAttr('color') _color: string): void {}
        }
        return Contradicting;
      },
    ],
    [
      '@Session()',
      () => {
        @NoSession()
        @Controller()
        class Contradicting {
          @Get()
          get(@Session() _session: object): void {}
        }
        return Contradicting;
      },
    ],
  ])('does not start where @NoSession() stands beside %s', async (other, contradicting) => {
    const starting = startHttpApp({ platform, controllers: [contradicting()] });
    await expect(starting).rejects.toThrow(`Contradicting.get is marked with @NoSession() and with ${other}`);
  });

  it('lets a method take back what its class says', async () => {
    @Controller('closed')
    @RequireSession()
    class Closed {
      @Get('account')
      account(): object {
        return {};
      }

      @Get('health')
      @NoSession()
      health(): object {
        return { ok: true };
      }
    }
    @Controller('open')
    @NoSession()
    class Open {
      @Get('account')
      @RequireSession()
      account(): object {
        return {};
      }
    }
    const shop = await startHttpApp({ platform, controllers: [Closed, Open] });
    const visitor = new Browser(shop.url);
    const statuses = [];
    for (const path of ['/closed/account', '/closed/health', '/open/account']) {
      statuses.push((await visitor.get(path)).status);
    }
    expect(statuses).toEqual([401, 200, 401]);
    await shop.close();
  });

  it('refuses a choice that there is not', () => {
    expect(() => OnSessionStoreDown('guest' as 'anonymous')).toThrow(/@OnSessionStoreDown\(\).*'guest'/);
  });
});

/** The one that the adapter brings along, which decides about paths when it is made. */
function ownExpress(): { set(name: string, value: unknown): void } {
  const load = createRequire(import.meta.resolve('@nestjs/platform-express'));
  return (load('express') as () => { set(name: string, value: unknown): void })();
}

/** fetch() would make a path of it. */
function statusOf(url: string, path: string): Promise<number> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    httpRequest({ hostname, port, path }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .on('error', reject)
      .end();
  });
}
