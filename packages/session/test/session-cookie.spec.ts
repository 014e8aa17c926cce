import 'reflect-metadata';
import { Incidents } from '@lockstep/core';
import type { SessionModuleOptions } from '@lockstep/session';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { resolveSessionOptions } from '../dist/session.options.js';
import { type HttpApp, PLATFORMS, type Platform, SECRET, startHttpApp } from './support/http-app.js';
import { pairOf, raw, tokenOf } from './support/raw-http.js';
import { ShopController } from './support/shop.controller.js';

const MALL = (host: string): string | undefined => (/(?:^|\.)mall\.com$/.test(host) ? 'mall.com' : undefined);
const TOKEN = 's1\\.[\\w-]{43}\\.[\\w-]+\\.a\\.[\\w-]{43}';

const shops: HttpApp[] = [];

async function shopWith(platform: Platform, session: Partial<SessionModuleOptions> = {}): Promise<HttpApp> {
  const shop = await startHttpApp({ platform, controllers: [ShopController], session });
  shops.push(shop);
  return shop;
}

function begin(shop: HttpApp, headers: Record<string, string>): ReturnType<typeof raw> {
  return raw(shop.url, '/set/color', { method: 'POST', headers, body: { value: 'red' } });
}

/** The codes of the incidents that a shop reports from now on. */
function incidentsOf({ app }: HttpApp): string[] {
  const codes: string[] = [];
  app.get(Incidents, { strict: false }).subscribe(({ code }) => codes.push(code));
  return codes;
}

afterEach(async () => {
  vi.unstubAllEnvs();
  for (const shop of shops.splice(0)) await shop.close();
});

describe.each(PLATFORMS)('the cookie on %s', (platform) => {
  it('is a __Host- one of one host, Secure, HttpOnly and Lax', async () => {
    const shop = await shopWith(platform);
    const answer = await begin(shop, { host: 'www.mall.com' });
    expect(answer.setCookies).toEqual([
      expect.stringMatching(new RegExp(`^__Host-sid=${TOKEN}; Path=/; HttpOnly; Secure; SameSite=Lax$`)),
    ]);
    const seen = await raw(shop.url, '/read/color', { headers: { host: 'www.mall.com', cookie: pairOf(answer) } });
    expect(seen.json).toMatchObject({ value: 'red' });
  });

  it('is plain on http://localhost alone, and __Host- where a proxy says that TLS is before it', async () => {
    const shop = await shopWith(platform);
    for (const host of ['localhost', 'localhost:3000', 'shop.localhost', '127.0.0.1:80', '[::1]:8080']) {
      expect((await begin(shop, { host })).setCookies[0]).toMatch(/^sid=[^;]+; Path=\/; HttpOnly; SameSite=Lax$/);
    }
    for (const proto of ['https', 'https, http', 'HTTPS']) {
      const behindTls = await begin(shop, { host: 'localhost', 'x-forwarded-proto': proto });
      expect(behindTls.setCookies[0]).toMatch(/^__Host-sid=/);
    }
    for (const host of ['localhost.evil.com', 'xlocalhost', '127.0.0.1.evil.com', '1127.0.0.1']) {
      expect((await begin(shop, { host })).setCookies[0]).toMatch(/^__Host-sid=/);
    }
  });

  it('is secure on localhost too in production, and a plain one is not looked at there', async () => {
    vi.stubEnv('NODE_ENV', 'production');
    const shop = await shopWith(platform);
    const answer = await begin(shop, { host: 'localhost' });
    expect(answer.setCookies[0]).toMatch(/^__Host-sid=[^;]+; Path=\/; HttpOnly; Secure; SameSite=Lax$/);
    const planted = await raw(shop.url, '/read/color', {
      headers: { host: 'localhost', cookie: `sid=${tokenOf(pairOf(answer))}` },
    });
    expect(planted.json).toMatchObject({ exists: false });
  });

  it('is not taken from its name without the prefix, which any subdomain could plant', async () => {
    const shop = await shopWith(platform);
    const token = tokenOf(pairOf(await begin(shop, { host: 'www.mall.com' })));
    for (const name of ['sid', '__Secure-sid', '__host-sid', '__Host-SID']) {
      const seen = await raw(shop.url, '/read/color', {
        headers: { host: 'www.mall.com', cookie: `${name}=${token}` },
      });
      expect(seen.json).toMatchObject({ exists: false });
    }
  });

  it('lasts as long as the session where it is persistent, and takes the attributes that are asked for', async () => {
    const shop = await shopWith(platform, {
      absolute: '1h',
      cookie: { name: 'shop', persistent: true, sameSite: 'none', partitioned: true },
    });
    const answer = await begin(shop, { host: 'mall.com' });
    expect(answer.setCookies[0]).toMatch(
      /^__Host-shop=[^;]+; Max-Age=3600; Path=\/; HttpOnly; Secure; SameSite=None; Partitioned$/,
    );
    const loggedOut = await raw(shop.url, '/logout', {
      method: 'POST',
      headers: { host: 'mall.com', cookie: pairOf(answer) },
    });
    expect(loggedOut.setCookies).toEqual([
      '__Host-shop=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=None; Partitioned',
    ]);
    // Browsers refuse SameSite=None and Partitioned without Secure.
    expect((await begin(shop, { host: 'localhost' })).setCookies[0]).toMatch(/; Path=\/; HttpOnly; SameSite=Lax$/);
  });

  it('goes along with cookies of the handler, and its answer is not cached', async () => {
    const shop = await shopWith(platform);
    const answer = await raw(shop.url, '/raw', { method: 'POST', headers: { host: 'localhost' } });
    expect(answer.setCookies).toEqual(['own=1', expect.stringMatching(/^sid=/)]);
    expect(answer.headers['cache-control']).toBe('no-store');
  });

  it('is shared by www.mall.com and order.mall.com where the resolver names their parent', async () => {
    const shop = await shopWith(platform, { cookie: { domain: MALL } });
    const answer = await begin(shop, { host: 'www.mall.com' });
    expect(answer.setCookies).toEqual([
      expect.stringMatching(
        new RegExp(`^__Secure-sid=${TOKEN}; Domain=mall\\.com; Path=/; HttpOnly; Secure; SameSite=Lax$`),
      ),
    ]);
    const headers = { host: 'order.mall.com:443', cookie: pairOf(answer) };
    expect((await raw(shop.url, '/read/color', { headers })).json).toMatchObject({ value: 'red' });
    const loggedOut = await raw(shop.url, '/logout', { method: 'POST', headers });
    expect(loggedOut.setCookies).toEqual([
      '__Secure-sid=; Max-Age=0; Domain=mall.com; Path=/; HttpOnly; Secure; SameSite=Lax',
    ]);
    const onWww = await raw(shop.url, '/read/color', { headers: { ...headers, host: 'www.mall.com' } });
    expect(onWww.json).toMatchObject({ exists: false });
  });

  it('is for the host alone where the resolver knows nothing of it', async () => {
    const shop = await shopWith(platform, { cookie: { domain: MALL } });
    const incidents = incidentsOf(shop);
    for (const host of ['evil.com', 'xmall.com', 'mall.com.evil.com', 'mall.com.']) {
      expect((await begin(shop, { host })).setCookies[0]).toMatch(/^__Host-sid=[^;]+; Path=\/; HttpOnly; Secure/);
    }
    expect(incidents).toEqual([]);
  });

  it.each<[string, (host: string) => unknown]>([
    ['echoes the host', (host) => host],
    ['makes a domain of any host', (host) => host.split('.').slice(-2).join('.')],
    ['returns a foreign domain', () => 'other.com'],
    ['returns a top-level domain', () => 'com'],
    ['returns a domain with a dot before it', () => '.mall.com'],
    ['returns attributes', () => 'mall.com; Path=/x'],
    ['returns an empty text', () => ''],
    ['returns null', () => null],
    ['returns a number', () => 7],
    ['throws', (host) => (host.includes('mall') ? (undefined as unknown as string[])[0] : undefined)],
  ])('is for the host alone where the resolver %s, and that is an incident', async (_what, domain) => {
    const shop = await shopWith(platform, { cookie: { domain: domain as (host: string) => string } });
    const incidents = incidentsOf(shop);
    const answer = await begin(shop, { host: 'www.mall.com' });
    expect(answer.status).toBe(201);
    expect(answer.setCookies).toEqual([expect.stringMatching(/^__Host-sid=[^;]+; Path=\/; HttpOnly; Secure; Same/)]);
    expect(new Set(incidents)).toEqual(new Set(['SESSION_COOKIE_DOMAIN']));
  });

  it('has no domain where the host is an address', async () => {
    const shop = await shopWith(platform, {
      cookie: { domain: (host) => (host === '10.0.0.5' ? '0.0.5' : undefined) },
    });
    expect((await begin(shop, { host: '10.0.0.5' })).setCookies[0]).toMatch(/^__Host-sid=/);
  });
});

describe('options of the cookie', () => {
  const withCookie = (cookie: unknown) => (): unknown =>
    resolveSessionOptions({ keys: { current: 'a', keys: { a: SECRET } }, cookie } as SessionModuleOptions);
  const withKeys = (keys: unknown) => (): unknown => resolveSessionOptions({ keys } as SessionModuleOptions);

  it('are refused at boot where browsers would refuse the cookie or anybody could read it', () => {
    expect(withCookie({ secure: false })).not.toThrow();
    expect(withCookie({ secure: false, sameSite: 'none' })).toThrow(/cookie\.secure/);
    expect(withCookie({ secure: false, partitioned: true })).toThrow(/cookie\.secure/);
    expect(withCookie({ sameSite: 'Lax' })).toThrow(/cookie\.sameSite/);
    expect(withCookie({ domain: 'mall.com' })).toThrow(/cookie\.domain/);
    for (const secure of [null, 'false', 0]) expect(withCookie({ secure })).toThrow(/cookie\.secure/);
    for (const name of ['__Host-sid', '__secure-sid', '__Http-sid', '__Host-Http-sid', 'a b', 'a=b', 'a;b', '', 7]) {
      expect(withCookie({ name })).toThrow(/cookie\.name/);
    }
    vi.stubEnv('NODE_ENV', 'production');
    expect(withCookie({ secure: false })).toThrow(/cookie\.secure/);
    expect(withCookie({})).not.toThrow();
  });

  it('are refused at boot where the header means something else already', () => {
    const withHeader = (header: unknown) => (): unknown =>
      resolveSessionOptions({ keys: { current: 'a', keys: { a: SECRET } }, header } as SessionModuleOptions);
    for (const header of ['Cookie', 'Set-Cookie', 'authorization', 'Content-Length', 'a b', 'a:b', '', 7, null]) {
      expect(withHeader(header)).toThrow(/header/);
    }
    for (const header of ['X-Auth-Token', 'Auth-Token', 'Mall-Session']) expect(withHeader(header)).not.toThrow();
  });

  it('are refused at boot where a key is missing or has less than 32 bytes, without telling it', () => {
    const short = 'x'.repeat(31);
    expect(withKeys({ current: 'a', keys: { a: short } })).toThrow(/31 bytes; expected at least 32/);
    expect(withKeys({ current: 'a', keys: { a: SECRET, old: short } })).toThrow(/keys\.old' has 31 bytes/);
    expect(withKeys({ current: 'a', keys: { a: new Uint8Array(31) } })).toThrow(/31 bytes/);
    expect(withKeys({ current: 'a', keys: { a: 'ü'.repeat(16) } })).not.toThrow();
    for (const a of [undefined, null, 7, {}]) expect(withKeys({ current: 'a', keys: { a } })).toThrow(/keys\.a/);
    expect(withKeys({ current: 'b', keys: { a: SECRET } })).toThrow(/current/);
    for (const keys of [undefined, null, 'secret', {}]) expect(withKeys(keys)).toThrow(/keys|current/);
    expect(withKeys({ current: 'a', keys: { a: short } })).not.toThrow(new RegExp(short));
  });
});
