import 'reflect-metadata';
import { createHmac, createSecretKey } from 'node:crypto';
import { Keyring, type KeyringOptions } from '@lockstep/core';
import { SessionModule, type SessionModuleExtras, type SessionRef, SessionService } from '@lockstep/session';
import { SessionJwtError, SessionJwts } from '@lockstep/session/jwt';
import { sealedCookieStore } from '@lockstep/session/sealed';
import { Body, Controller, Inject, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, SECRET, startHttpApp } from './support/http-app.js';
import { ShopController } from './support/shop.controller.js';

const OTHER_SECRET = 'another secret of thirty-two bytes';
const KEYS: KeyringOptions = { current: 'a', keys: { a: SECRET } };
const AUDIENCE = 'orders';

@Controller('jwt')
class JwtController {
  constructor(
    @Inject(SessionJwts) private readonly jwts: SessionJwts,
    @Inject(SessionService) private readonly sessions: SessionService,
  ) {}

  @Post('issue')
  async issue(): Promise<object> {
    return { token: await this.jwts.issue(this.sessions.current, { audience: AUDIENCE }) };
  }

  /** Needs no session: the token is all that there is. */
  @Post('verify')
  async verify(@Body() { token, live = false }: { token: string; live?: boolean }): Promise<object> {
    return this.jwts.verify(token, { audience: AUDIENCE, live });
  }
}

/** What one process has, with sessions in memory unless said otherwise. */
async function jwtsOf(keys = KEYS, extras: Partial<SessionModuleExtras> = {}): Promise<SessionJwts> {
  const imports = [SessionModule.forRoot({ keys, ...extras })];
  const testing = await Test.createTestingModule({ imports, providers: [SessionJwts] }).compile();
  await testing.init();
  return testing.get(SessionJwts);
}

function sessionOf(change: Partial<SessionRef> = {}): SessionRef {
  const session = { handle: 'h'.repeat(43), principal: { id: 'alice', tenant: 'mall' }, expiresAt: new Date(4e12) };
  return { ...session, ...change } as SessionRef;
}

/** The key that tokens are signed with, as whoever has the secrets can derive it. */
function keyOf(keys = KEYS, id = 'a', purpose = 'lockstep-session-jwt') {
  const key = new Keyring(keys).derive(purpose).find(id);
  if (!key) throw new Error('no such key');
  return key;
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const refused = (reason: string) =>
  expect.objectContaining({
    code: 'SESSION_JWT_REFUSED',
    httpStatus: 401,
    fields: expect.objectContaining({ reason }),
  });

describe.each(PLATFORMS)('a JWT of a session on %s', (platform) => {
  let shop: HttpApp;
  beforeAll(async () => {
    shop = await startHttpApp({ platform, controllers: [ShopController, JwtController], providers: [SessionJwts] });
  });
  afterAll(() => shop.close());

  async function issued(id: string): Promise<{ browser: Browser; token: string }> {
    const browser = new Browser(shop.url);
    await browser.post(`/login/${id}`);
    return { browser, token: (await browser.post('/jwt/issue')).json.token };
  }

  const verify = (token: string, live: boolean) => new Browser(shop.url).post('/jwt/verify', { token, live });

  it('speaks for its user where there is no session', async () => {
    const { browser, token } = await issued('ann');
    const answer = await verify(token, false);
    expect(answer.json).toMatchObject({ principal: { id: 'ann' }, claims: { aud: AUDIENCE } });
    expect(answer.setCookies).toEqual([]);
    expect((await browser.post('/jwt/issue')).json.token).not.toBe(token);
    expect((await verify(token, true)).status).toBe(201);
  });

  it.each(['logout', 'rotate', 'login/ben'])(
    'dies with %s at once where it is looked up, else with its time',
    async (end) => {
      const { browser, token } = await issued('ben');
      await browser.post(`/${end}`);
      const answer = await verify(token, true);
      expect(answer.status).toBe(401);
      expect(answer.json).toMatchObject({ code: 'SESSION_JWT_REFUSED', reason: 'ended' });
      expect((await verify(token, false)).status).toBe(201);
    },
  );

  it('dies with the revocation of its session, and those of the user’s other sessions live on', async () => {
    const [one, other] = [await issued('cat'), await issued('cat')];
    const handle = (await verify(one.token, true)).json.handle;
    expect(await shop.sessions.revoke({ id: 'cat' }, handle)).toBe(true);
    expect((await verify(one.token, true)).status).toBe(401);
    expect((await verify(other.token, true)).status).toBe(201);
    await shop.sessions.revokeAll({ id: 'cat' });
    expect((await verify(other.token, true)).status).toBe(401);
  });

  it('is not to be had by a visitor', async () => {
    const visitor = new Browser(shop.url);
    expect((await visitor.post('/jwt/issue')).status).toBe(401);
    await visitor.post('/set/color', { value: 'red' });
    expect((await visitor.post('/jwt/issue')).json).toMatchObject({ code: 'SESSION_REQUIRED' });
  });
});

describe('a JWT of a session', () => {
  let jwts: SessionJwts;
  beforeAll(async () => {
    jwts = await jwtsOf();
  });
  afterEach(() => vi.useRealTimers());

  const verify = (token: string) => jwts.verify(token, { audience: AUDIENCE });
  const issue = (change: object = {}, session = sessionOf()) => jwts.issue(session, { audience: AUDIENCE, ...change });

  it('says whose it is, on which session it hangs, and until when', async () => {
    const token = await issue({ ttl: '2m', claims: { scope: 'read' } });
    expect(decodeProtectedHeader(token)).toEqual({ alg: 'HS256', kid: 'a', typ: 'lockstep-session+jwt' });
    const claims = decodeJwt(token);
    expect(claims).toMatchObject({ sub: 'alice', tenant: 'mall', aud: AUDIENCE, scope: 'read' });
    expect(claims['sid']).toMatch(/^h{43}\.u[\w-]{22}$/);
    expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBe(120);
    const verified = await verify(token);
    expect(verified.principal).toEqual({ id: 'alice', tenant: 'mall' });
    expect(verified.handle).toBe('h'.repeat(43));
    expect(verified.id).toBe(claims.jti);
    expect(verified.claims['scope']).toBe('read');
    expect(decodeJwt(await issue()).jti).not.toBe(claims.jti);
  });

  it('is over when its time is, and never outlives the session', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000_000_000 });
    const token = await issue({ ttl: '1s' });
    const bounded = await issue({ ttl: '1h' }, sessionOf({ expiresAt: new Date(1_000_000_060_000) }));
    expect(decodeJwt(bounded).exp).toBe(1_000_000_060);
    vi.setSystemTime(1_000_000_000_999);
    await verify(token);
    vi.setSystemTime(1_000_000_001_000);
    await expect(verify(token)).rejects.toEqual(refused('expired'));
    await verify(bounded);
    vi.setSystemTime(1_000_000_060_000);
    await expect(verify(bounded)).rejects.toEqual(refused('expired'));
  });

  it('is refused once a single bit of any byte is another', async () => {
    const token = await issue();
    await verify(token);
    for (let at = 0; at < token.length; at += 1) {
      const other = String.fromCharCode(token.charCodeAt(at) ^ (1 << (at % 7)));
      await expect(verify(token.slice(0, at) + other + token.slice(at + 1)), `byte ${at}`).rejects.toBeInstanceOf(
        SessionJwtError,
      );
    }
    for (let bit = 0; bit < 7; bit += 1) {
      const last = String.fromCharCode(token.charCodeAt(token.length - 1) ^ (1 << bit));
      await expect(verify(token.slice(0, -1) + last)).rejects.toEqual(refused('invalid'));
    }
  });

  it('is refused with another algorithm, with none, and with the secret itself as its key', async () => {
    const [, payload = ''] = (await issue()).split('.');
    const forge = (header: object, sign: (text: string) => string) => {
      const text = `${part({ typ: 'lockstep-session+jwt', kid: 'a', ...header })}.${payload}`;
      return `${text}.${sign(text)}`;
    };
    const by = (hash: string, key: Parameters<typeof createHmac>[1]) => (text: string) =>
      createHmac(hash, key).update(text).digest('base64url');
    const forged = [
      forge({ alg: 'none' }, () => ''),
      forge({ alg: 'none' }, by('sha256', keyOf())),
      forge({ alg: 'NONE' }, () => 'A'.repeat(43)),
      forge({ alg: 'HS512' }, by('sha512', keyOf())),
      forge({ alg: 'HS384' }, by('sha256', keyOf())),
      forge({ alg: 'RS256' }, by('sha256', keyOf())),
      forge({}, by('sha256', keyOf())),
      forge({ alg: 'HS256' }, by('sha256', SECRET)),
      forge({ alg: 'HS256' }, by('sha256', '')),
      forge({ alg: 'HS256' }, by('sha256', keyOf(KEYS, 'a', 'lockstep-session-sealed'))),
      forge({ alg: 'HS256', typ: 'JWT' }, by('sha256', keyOf())),
      forge({ alg: 'HS256', kid: undefined }, by('sha256', keyOf())),
      forge({ alg: 'HS256', kid: ['a'] }, by('sha256', keyOf())),
      forge({ alg: 'HS256', kid: 'constructor' }, by('sha256', keyOf())),
      forge({ alg: 'HS256', crit: ['odd'], odd: 1 }, by('sha256', keyOf())),
      forge({ alg: 'HS256', b64: false, crit: ['b64'] }, by('sha256', keyOf())),
    ];
    for (const [index, token] of forged.entries()) {
      await expect(verify(token), `forgery ${index}`).rejects.toEqual(refused('invalid'));
    }
    await verify(forge({ alg: 'HS256' }, by('sha256', keyOf())));
  });

  it('is refused under the id of another key, and survives a change of keys while the old one is there', async () => {
    const both = { a: SECRET, b: OTHER_SECRET };
    const [during, after] = [
      await jwtsOf({ current: 'b', keys: both }),
      await jwtsOf({ current: 'b', keys: { b: OTHER_SECRET } }),
    ];
    const token = await issue();
    await during.verify(token, { audience: AUDIENCE });
    await expect(after.verify(token, { audience: AUDIENCE })).rejects.toEqual(refused('invalid'));
    const next = await during.issue(sessionOf(), { audience: AUDIENCE });
    expect(decodeProtectedHeader(next).kid).toBe('b');
    await after.verify(next, { audience: AUDIENCE });
    await expect(verify(next)).rejects.toEqual(refused('invalid'));
    const [, payload = '', signature = ''] = token.split('.');
    const renamed = `${part({ alg: 'HS256', kid: 'b', typ: 'lockstep-session+jwt' })}.${payload}.${signature}`;
    await expect(during.verify(renamed, { audience: AUDIENCE })).rejects.toEqual(refused('invalid'));
  });

  it('is refused by another audience, and without what it must say', async () => {
    const token = await issue();
    await expect(jwts.verify(token, { audience: 'billing' })).rejects.toEqual(refused('audience'));
    const all = decodeJwt(token);
    for (const claim of ['sub', 'aud', 'sid', 'iat', 'exp', 'jti'] as const) {
      const { [claim]: _left, ...rest } = all;
      await expect(verify(await signed(rest)), claim).rejects.toBeInstanceOf(SessionJwtError);
    }
    for (const odd of [{ sid: 'odd' }, { sid: 7 }, { tenant: 7 }, { sub: '' }, { jti: '' }]) {
      await expect(verify(await signed({ ...all, ...odd })), JSON.stringify(odd)).rejects.toEqual(refused('invalid'));
    }
    for (const odd of ['', 'a.b.c', '..', 'x'.repeat(9_000), undefined, 7, null]) {
      await expect(verify(odd as string), String(odd).slice(0, 9)).rejects.toEqual(refused('invalid'));
    }
  });

  it('cannot be asked for without an audience, for too long, or with what it says by itself', async () => {
    const misuse = expect.objectContaining({ code: 'SESSION_MISUSE' });
    await expect(issue({ audience: '' })).rejects.toEqual(misuse);
    await expect(jwts.verify('x', { audience: '' })).rejects.toEqual(misuse);
    for (const name of ['sub', 'exp', 'sid', 'tenant', 'iss', 'nbf']) {
      await expect(issue({ claims: { [name]: 'x' } }), name).rejects.toEqual(misuse);
    }
    await expect(issue({ claims: { text: 'x'.repeat(9_000) } })).rejects.toEqual(misuse);
    for (const ttl of ['2h', 999, 0, 'soon']) await expect(issue({ ttl })).rejects.toThrow("Option 'ttl'");
    for (const lacking of [{ principal: undefined }, { handle: undefined }]) {
      await expect(issue({}, sessionOf(lacking))).rejects.toMatchObject({ code: 'SESSION_REQUIRED' });
    }
  });

  it('of a session that its client keeps is good, but nobody can look it up', async () => {
    const sealed = await jwtsOf(KEYS, { store: sealedCookieStore() });
    const token = await sealed.issue(sessionOf({ handle: 'x'.repeat(22) }), { audience: AUDIENCE });
    expect((await sealed.verify(token, { audience: AUDIENCE })).principal.id).toBe('alice');
    await expect(sealed.verify(token, { audience: AUDIENCE, live: true })).rejects.toMatchObject({
      code: 'SESSION_MISUSE',
    });
  });

  function signed(claims: object): Promise<string> {
    return new SignJWT({ ...claims })
      .setProtectedHeader({ alg: 'HS256', kid: 'a', typ: 'lockstep-session+jwt' })
      .sign(createSecretKey(keyOf().export()));
  }
});
