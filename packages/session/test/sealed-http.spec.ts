import 'reflect-metadata';
import { type Incident, Incidents } from '@lockstep/core';
import { sealedCookieStore } from '@lockstep/session/sealed';
import { eventually } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ClientKeptController } from './support/client-kept.controller.js';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { HandClock } from './support/sealed-keeping.js';
import { held, ShopController } from './support/shop.controller.js';

const controllers = [ShopController, ClientKeptController];

describe.each(PLATFORMS)('a session that its client keeps, on %s', (platform) => {
  const clock = new HandClock();
  const reported: Incident[] = [];
  let shop: HttpApp;
  beforeAll(async () => {
    shop = await startHttpApp({
      platform,
      controllers,
      session: { store: sealedCookieStore({ nowMs: clock.read }), idle: '30m', touchAfter: '1m' },
    });
    shop.app.get(Incidents).subscribe((incident) => reported.push(incident));
  });
  afterAll(() => shop.close());

  const visitor = (): Browser => new Browser(shop.url);

  it('begins with the first attribute, and is told again only when it has changed', async () => {
    const browser = visitor();
    expect((await browser.get('/read/color')).setCookies).toEqual([]);
    const first = await browser.post('/set/color', { value: 'red' });
    expect(first.setCookies).toEqual([expect.stringMatching(/^sid=c1\.a\.[\w-]+; Path=\/; HttpOnly; SameSite=Lax$/)]);
    expect((await browser.get('/read/color')).setCookies).toEqual([]);
    expect((await browser.post('/set/size', { value: 3 })).setCookies).toHaveLength(1);
    const seen = await browser.get('/native');
    expect(seen.json).toEqual({ color: 'red', size: 3 });
    expect(seen.setCookies).toEqual([]);
  });

  it.each(['throws', 'res', 'raw', 'stream', 'redirect'])('is in the head of an answer by %s', async (form) => {
    const browser = visitor();
    await browser.post(`/${form}`);
    expect((await browser.get('/read/form')).json).toMatchObject({ value: form });
  });

  it('is told anew after an update, so that the next one counts on', async () => {
    const browser = visitor();
    await browser.post('/set/color', { value: 'red' });
    for (const count of [1, 2]) {
      const answer = await browser.post('/count');
      expect(answer.json).toEqual({ count });
      expect(answer.setCookies).toHaveLength(1);
    }
    expect((await browser.get('/native')).json).toEqual({ color: 'red', count: 2 });
  });

  it('is told anew when its last use was long ago, with an answer that changes nothing', async () => {
    const browser = visitor();
    await browser.post('/set/color', { value: 'red' });
    for (let minutes = 0; minutes < 60; minutes += 20) {
      clock.pass(1_200_000);
      const answer = await browser.get('/read/color');
      expect(answer.json).toMatchObject({ value: 'red' });
      expect(answer.setCookies).toHaveLength(1);
    }
    clock.pass(1_800_000);
    expect((await browser.get('/read/color')).json).toMatchObject({ value: null, exists: false });
  });

  it('has another id after the login, and its cookie is taken back by the logout', async () => {
    const browser = visitor();
    await browser.post('/set/cart', { value: ['tea'] });
    const before = await browser.get('/kept/who');
    await browser.post('/login/alice');
    const after = await browser.get('/kept/who');
    expect(after.json).toMatchObject({ id: 'alice' });
    expect(after.json.handle).not.toBe(before.json.handle);
    expect((await browser.get('/read/cart')).json).toMatchObject({ value: ['tea'], principal: 'alice' });
    await browser.post('/rotate');
    expect((await browser.get('/kept/who')).json.handle).not.toBe(after.json.handle);
    await browser.post('/logout');
    expect(browser.token).toBeUndefined();
  });

  it('goes on at a process that has just begun and has the same keys', async () => {
    const browser = visitor();
    await browser.post('/login/alice');
    const other = await startHttpApp({
      platform,
      controllers,
      session: { store: sealedCookieStore({ nowMs: clock.read }) },
    });
    const elsewhere = new Browser(other.url);
    elsewhere.cookies.set('sid', browser.token ?? '');
    expect((await elsewhere.get('/kept/who')).json).toMatchObject({ id: 'alice' });
    await other.close();
  });

  it('of two requests side by side is what the last answer says: the other one is lost', async () => {
    const browser = visitor();
    await browser.post('/set/a', { value: 0 });
    const other = browser.clone();
    await browser.post('/set/a', { value: 1 });
    await other.post('/set/b', { value: 2 });
    expect((await other.get('/native')).json).toEqual({ a: 0, b: 2 });
  });

  it('that would be too large makes an error of the answer, and the client keeps what it had', async () => {
    const browser = visitor();
    await browser.post('/set/color', { value: 'red' });
    const answer = await browser.post('/kept/large');
    expect(answer.status).toBe(413);
    expect(answer.setCookies).toEqual([]);
    expect((await browser.get('/native')).json).toEqual({ color: 'red' });
  });

  it('refuses every change that comes after the head: nobody could be told', async () => {
    const browser = visitor();
    await browser.post('/native', { color: 'red', list: [] });
    const answer = await browser.post('/kept/late/all');
    expect(answer.text).toBe(`begun:${Array.from({ length: 5 }, () => 'SESSION_MISUSE').join(',')}`);
    expect((await browser.get('/native')).json).toEqual({ color: 'red', list: [] });
  });

  it('cuts an answer whose session was changed in place after the head, and says so', async () => {
    const browser = visitor();
    await browser.post('/native', { list: [] });
    reported.length = 0;
    await expect(browser.post('/kept/late-in-place')).rejects.toThrow();
    await eventually(() => expect(reported.map(({ code }) => code)).toContain('SESSION_NOT_SAVED'));
  });

  it('refuses a change whose client has left, who alone could have kept it', async () => {
    const browser = visitor();
    await browser.post('/set/color', { value: 'red' });
    const [gate, leaving] = [held(), new AbortController()];
    const answer = browser.get(`/kept/left?gate=${gate.name}`, { method: 'POST', signal: leaving.signal });
    await gate.entered;
    leaving.abort();
    await expect(answer).rejects.toThrow();
    ClientKeptController.afterLeaving = undefined;
    await eventually(() => expect(ClientKeptController.hasLeft(gate.name)).toBe(true));
    gate.open();
    await eventually(() => expect(ClientKeptController.afterLeaving).toMatchObject({ code: 'SESSION_MISUSE' }));
  });

  it('is a visitor when its cookie was forged, and the cookie is left alone', async () => {
    const browser = visitor();
    await browser.post('/login/alice');
    const token = browser.token ?? '';
    for (const forged of [
      token.slice(0, -4),
      token.replace('c1.a', 'c1.b'),
      `${token.slice(0, 40)}AAAA${token.slice(44)}`,
    ]) {
      browser.cookies.set('sid', forged);
      const answer = await browser.get('/kept/who');
      expect(answer.json).toEqual({ id: null, handle: null });
      expect(answer.setCookies).toEqual([]);
    }
  });

  it('travels by header where the client wants it so', async () => {
    const other = await startHttpApp({
      platform,
      controllers,
      session: { store: sealedCookieStore(), header: 'X-Auth-Token', cookie: false },
    });
    const first = await new Browser(other.url).post('/login/alice');
    const token = first.headers.get('x-auth-token') ?? '';
    const answer = await new Browser(other.url, { 'x-auth-token': token }).get('/kept/who');
    expect(answer.json).toMatchObject({ id: 'alice' });
    await other.close();
  });
});
