import 'reflect-metadata';
import { randomBytes } from 'node:crypto';
import { ConfigurationError } from '@lockstep/core';
import { SessionModule, SessionService, SessionTooLargeError } from '@lockstep/session';
import { sealedCookieStore } from '@lockstep/session/sealed';
import { Test } from '@nestjs/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SECRET } from './support/http-app.js';
import { entries, HandClock, openSealed } from './support/sealed-keeping.js';

const OTHER_SECRET = 'another secret of thirty-two bytes';
const ALICE = { principal: { id: 'alice', tenant: 'mall' }, amr: ['pwd'], at: undefined };
const login = { from: undefined, user: ALICE, keepAttributes: true, meta: '{}' };

describe('a sealed cookie', () => {
  it('is the session at every process that has the keys, and no store is there', async () => {
    const [one, other] = [await openSealed(), await openSealed()];
    const kept = await one.keeping.login({ ...login, attributes: entries({ cart: ['tea'] }) });
    if (kept === 'gone') throw new Error('gone');
    const found = await other.keeping.recognise(kept.token)?.load();
    expect(found?.token).toBe(kept.token);
    expect(found?.record.key).toEqual(kept.record.key);
    expect(found?.record.principal).toBe(kept.record.principal);
    expect(found?.record.attributes).toEqual(new Map([['cart', { text: '["tea"]', revision: 1 }]]));
  });

  it('brings back any attributes as they were', async () => {
    const { keeping } = await openSealed({ maxBytes: 4_000 });
    const attributes = fc.dictionary(fc.string({ unit: 'grapheme', maxLength: 20 }), fc.json({ maxDepth: 2 }), {
      maxKeys: 4,
    });
    await fc.assert(
      fc.asyncProperty(attributes, async (values) => {
        const set = new Map(Object.entries(values));
        fc.pre([...set].join('').length < 1_000 && Buffer.byteLength([...set].join('')) < 2_000);
        const { token } = await keeping.create(set, '{}');
        const found = await keeping.recognise(token)?.load();
        expect(new Map([...(found?.record.attributes ?? [])].map(([name, { text }]) => [name, text]))).toEqual(set);
      }),
      { numRuns: 200 },
    );
  });

  it('opens for nobody once a single bit of any byte is another', async () => {
    const { keeping } = await openSealed();
    const { token } = await keeping.create(entries({ role: 'visitor' }), '{}');
    expect(keeping.recognise(token)).toBeDefined();
    for (let at = 0; at < token.length; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) {
        const other = String.fromCharCode(token.charCodeAt(at) ^ (1 << bit));
        const forged = token.slice(0, at) + other + token.slice(at + 1);
        if (keeping.recognise(forged)) expect.fail(`bit ${bit} of byte ${at}`);
      }
    }
    expect(await keeping.recognise(`${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`)?.load()).toBeUndefined();
  });

  it('has one spelling only, however its length leaves bits of the last character free', async () => {
    const { keeping } = await openSealed();
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    let free = 0;
    for (const text of ['x', 'xx', 'xxx']) {
      const { token } = await keeping.create(entries({ text }), '{}');
      const bytes = Buffer.from(token.slice(5), 'base64url');
      for (const last of alphabet) {
        const other = token.slice(0, -1) + last;
        if (other === token) continue;
        if (Buffer.from(other.slice(5), 'base64url').equals(bytes)) free += 1;
        expect(keeping.recognise(other), other).toBeUndefined();
      }
    }
    expect(free).toBeGreaterThan(0);
  });

  it('opens for nobody when the bytes below its text are others, or too few', async () => {
    const { keeping } = await openSealed();
    const { token } = await keeping.create(entries({ role: 'visitor' }), '{}');
    const body = Buffer.from(token.slice(5), 'base64url');
    expect(`c1.a.${body.toString('base64url')}`).toBe(token);
    for (let at = 0; at < body.length; at += 1) {
      const forged = Buffer.from(body);
      forged[at] = (forged[at] ?? 0) ^ (1 << (at % 8));
      expect(keeping.recognise(`c1.a.${forged.toString('base64url')}`), `byte ${at}`).toBeUndefined();
      expect(keeping.recognise(`c1.a.${body.subarray(0, at).toString('base64url')}`), `${at} bytes`).toBeUndefined();
    }
    for (const odd of ['', 'c1', 'c1.a.', 'c1.b.AAAA', 'c1.__proto__.AAAA', `${token}.`, `${token}A`, ` ${token}`]) {
      expect(keeping.recognise(odd), odd).toBeUndefined();
    }
  });

  it('has a nonce of its own whenever it is sealed, and shows nothing of what it says', async () => {
    const { keeping } = await openSealed();
    const tokens: string[] = [];
    for (let count = 0; count < 5_000; count += 1) {
      tokens.push((await keeping.create(entries({ word: 'PLAINLY-READABLE' }), '{}')).token);
    }
    const nonces = tokens.map((token) => Buffer.from(token.slice(5), 'base64url').subarray(0, 12).toString('hex'));
    expect(new Set(nonces).size).toBe(5_000);
    const bytes = Buffer.from(tokens[0]?.slice(5) ?? '', 'base64url').toString('latin1');
    expect(bytes).not.toContain('PLAINLY');
  });

  it('is worth nothing under the name of another cookie, and neither is what was sealed for something else', async () => {
    const shop = await openSealed();
    const admin = await openSealed({}, { cookie: { name: 'admin' } });
    const { token } = await shop.keeping.create(entries({ role: 'visitor' }), '{}');
    expect(admin.keeping.recognise(token)).toBeUndefined();
    expect(shop.keeping.recognise(token)).toBeDefined();
    const keys = { current: 'a', keys: { a: SECRET } };
    const stored = await Test.createTestingModule({ imports: [SessionModule.forRoot({ keys })] }).compile();
    const { keeping } = stored.get(SessionService);
    expect(keeping.recognise(token)).toBeUndefined();
    const ticket = await keeping.create(entries({ role: 'visitor' }), '{}');
    expect(shop.keeping.recognise(ticket.token)).toBeUndefined();
  });

  it('survives a change of keys while the old one is there, takes the new one when sealed, and not the id of another', async () => {
    const before = await openSealed();
    const during = await openSealed({}, { keys: { current: 'b', keys: { a: SECRET, b: OTHER_SECRET } } });
    const after = await openSealed({}, { keys: { current: 'b', keys: { b: OTHER_SECRET } } });
    const old = await before.keeping.create(entries({ n: 1 }), '{}');
    expect(after.keeping.recognise(old.token)).toBeUndefined();
    expect(during.keeping.recognise(old.token.replace('c1.a.', 'c1.b.'))).toBeUndefined();
    const found = await during.keeping.recognise(old.token)?.load();
    if (!found) throw new Error('not found');
    const saved = await during.keeping.save(found, { set: entries({ n: 2 }), remove: [] });
    if (typeof saved === 'string') throw new Error(saved);
    expect(saved.token).toMatch(/^c1\.b\./);
    const last = await after.keeping.recognise(saved.token)?.load();
    expect(last?.record.attributes.get('n')).toEqual({ text: '2', revision: 2 });
    expect(last?.record.key).toEqual(old.record.key);
  });

  it('ends by itself unused, and at the latest at its end, however much it is used', async () => {
    const clock = new HandClock();
    const { keeping } = await openSealed({ nowMs: clock.read }, { idle: '10m', absolute: '1h', touchAfter: '1m' });
    let { token } = await keeping.create(entries({ n: 1 }), '{}');
    clock.pass(59_999);
    expect((await keeping.recognise(token)?.load())?.token).toBe(token);
    clock.pass(539_999);
    const touched = await keeping.recognise(token)?.load();
    expect(touched?.token).not.toBe(token);
    expect((await keeping.recognise(token)?.load(true))?.token).toBe(token);
    clock.pass(2);
    expect(await keeping.recognise(token)?.load()).toBeUndefined();
    token = touched?.token ?? '';
    for (let minutes = 10; minutes < 60; minutes += 5) {
      const kept = await keeping.recognise(token)?.load();
      if (!kept) throw new Error(`gone after ${minutes} min`);
      token = kept.token;
      clock.pass(300_000);
    }
    expect(await keeping.recognise(token)?.load()).toBeUndefined();
  });

  it('is held to a shorter `absolute` at once', async () => {
    const clock = new HandClock();
    const long = await openSealed({ nowMs: clock.read }, { idle: '10h', absolute: '24h' });
    const short = await openSealed({ nowMs: clock.read }, { idle: '1h', absolute: '1h' });
    const { token } = await long.keeping.create(entries({ n: 1 }), '{}');
    clock.pass(3_599_999);
    expect((await short.keeping.recognise(token)?.load())?.record.expiresAt).toBe(clock.nowMs + 1);
    clock.pass(1);
    expect(await short.keeping.recognise(token)?.load()).toBeUndefined();
    expect(await long.keeping.recognise(token)?.load()).toBeDefined();
  });

  it('is accepted from a process that is ahead by the skew, and no further', async () => {
    const [clock, ahead] = [new HandClock(), new HandClock()];
    const here = await openSealed({ nowMs: clock.read, maxSkew: '30s' });
    const there = await openSealed({ nowMs: ahead.read });
    ahead.pass(30_000);
    const { token } = await there.keeping.create(entries({ n: 1 }), '{}');
    const found = await here.keeping.recognise(token)?.load();
    expect(found?.record.readAt).toBe(ahead.nowMs);
    ahead.pass(1);
    const further = await there.keeping.create(entries({ n: 1 }), '{}');
    expect(await here.keeping.recognise(further.token)?.load()).toBeUndefined();
  });

  it('of a login has another id, times that begin anew, and the attributes only where they are kept', async () => {
    const clock = new HandClock();
    const { keeping } = await openSealed({ nowMs: clock.read });
    const from = await keeping.create(entries({ cart: 1 }), '{}');
    clock.pass(1_000);
    const kept = await keeping.login({ ...login, from, attributes: new Map() });
    const bare = await keeping.login({ ...login, from, keepAttributes: false, attributes: new Map() });
    if (kept === 'gone' || bare === 'gone') throw new Error('gone');
    expect(kept.record.key.id).not.toBe(from.record.key.id);
    expect(kept.record.createdAt).toBe(clock.nowMs);
    expect([...kept.record.attributes.keys()]).toEqual(['cart']);
    expect(bare.record.attributes.size).toBe(0);
    clock.pass(1_000);
    const rotated = await keeping.rotate(kept);
    if (rotated === 'gone') throw new Error('gone');
    expect(rotated.record.key.id).not.toBe(kept.record.key.id);
    expect(rotated.record).toMatchObject({ createdAt: kept.record.createdAt, expiresAt: kept.record.expiresAt });
  });

  it('is refused when it would be too large, in every way that could make it so', async () => {
    const { keeping } = await openSealed({ maxBytes: 1_000 });
    const large = entries({ text: randomBytes(600).toString('hex') });
    const tooLarge = expect.objectContaining({
      code: 'SESSION_TOO_LARGE',
      fields: expect.objectContaining({ what: 'cookie' }),
    });
    await expect(keeping.create(large, '{}')).rejects.toBeInstanceOf(SessionTooLargeError);
    await expect(keeping.create(large, '{}')).rejects.toEqual(tooLarge);
    await expect(keeping.login({ ...login, attributes: large })).rejects.toEqual(tooLarge);
    const small = await keeping.create(entries({ n: 1 }), '{}');
    await expect(keeping.save(small, { set: large, remove: [] })).rejects.toEqual(tooLarge);
    expect(small.token.length).toBeLessThan(1_000);
  });

  it('that is larger than a smaller limit allows serves on, and is touched', async () => {
    const clock = new HandClock();
    const wide = await openSealed({ nowMs: clock.read, maxBytes: 4_000 });
    const narrow = await openSealed({ nowMs: clock.read, maxBytes: 256 });
    const { token } = await wide.keeping.create(entries({ text: 'x'.repeat(2_500) }), '{}');
    clock.pass(120_000);
    const touched = await narrow.keeping.recognise(token)?.load();
    expect(touched?.token).not.toBe(token);
    expect(touched?.token.length).toBeLessThanOrEqual(narrow.keeping.longestToken);
  });

  it('is refused at boot with what it cannot do', async () => {
    expect(() => sealedCookieStore({ maxBytes: 5_000 })).toThrow("Option 'maxBytes' is 5000");
    expect(() => sealedCookieStore({ maxSkew: '1h' })).toThrow("Option 'maxSkew'");
    expect(() => sealedCookieStore({ epochs: {} as never })).toThrow("Option 'epochs'");
    await expect(openSealed({}, { maxPerUser: 3 })).rejects.toThrow(ConfigurationError);
    await expect(openSealed({}, { renewEvery: '1h' })).rejects.toThrow('renewEvery');
  });

  it('cannot be listed, nor revoked without epochs', async () => {
    const sessions = await openSealed();
    const misuse = expect.objectContaining({ code: 'SESSION_MISUSE' });
    await expect(sessions.list({ id: 'alice' })).rejects.toEqual(misuse);
    await expect(sessions.revoke({ id: 'alice' }, 'handle')).rejects.toEqual(misuse);
    await expect(sessions.revokeAll({ id: 'alice' })).rejects.toEqual(misuse);
  });
});
