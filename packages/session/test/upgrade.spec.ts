import 'reflect-metadata';
import { once } from 'node:events';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { DrainService, type Incident, Incidents } from '@lockstep/core';
import {
  type LoadRequest,
  MemorySessionStore,
  type SessionKey,
  type SessionModuleOptions,
  type SessionRecord,
  type SessionStore,
} from '@lockstep/session';
import { eventually } from '@lockstep/testing';
import { WsAdapter } from '@nestjs/platform-ws';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { ChatGateway } from './support/chat.gateway.js';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { ShopController } from './support/shop.controller.js';

let chat: HttpApp | undefined;
let clients: WebSocket[] = [];
afterEach(async () => {
  for (const client of clients) client.terminate();
  clients = [];
  await chat?.close();
  chat = undefined;
});

/** Without pushes, so that an end is found by looking only; it can be down. */
class MuteStore implements SessionStore {
  readonly inner: MemorySessionStore;
  readonly loads: LoadRequest[] = [];
  isDown = false;
  readonly create: SessionStore['create'];
  readonly save: SessionStore['save'];
  readonly replace: SessionStore['replace'];
  readonly list: SessionStore['list'];
  readonly remove: SessionStore['remove'];

  constructor(nowMs: () => number = () => performance.timeOrigin + performance.now()) {
    const inner = new MemorySessionStore({ nowMs });
    this.inner = inner;
    this.create = (request) => inner.create(request);
    this.save = (request) => inner.save(request);
    this.replace = (request) => inner.replace(request);
    this.list = (group) => inner.list(group);
    this.remove = (request) => inner.remove(request);
  }

  async load(request: LoadRequest): Promise<SessionRecord | undefined> {
    this.loads.push(request);
    if (this.isDown) throw new Error('down');
    return this.inner.load(request);
  }
}

interface Open {
  readonly app: HttpApp;
  readonly gateway: ChatGateway;
  readonly incidents: Incident[];
}

async function start(
  store: SessionStore = new MemorySessionStore(),
  session: Partial<SessionModuleOptions> = {},
  platform: (typeof PLATFORMS)[number] = 'express',
): Promise<Open> {
  chat = await startHttpApp({
    platform,
    controllers: [ShopController],
    providers: [ChatGateway],
    session: { store: { useFactory: () => store }, ...session },
    configure: (app) => app.useWebSocketAdapter(new WsAdapter(app)),
  });
  const incidents: Incident[] = [];
  chat.app.get(Incidents).subscribe((incident) => incidents.push(incident));
  return { app: chat, gateway: chat.app.get(ChatGateway), incidents };
}

class Client {
  readonly received: unknown[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;

  constructor(readonly socket: WebSocket) {
    clients.push(socket);
    socket.on('message', (data: Buffer) => this.received.push(JSON.parse(data.toString())));
    socket.on('error', () => undefined);
    this.closed = once(socket, 'close').then(([code, reason]) => ({ code: Number(code), reason: String(reason) }));
  }

  async ask(event: string, data?: unknown): Promise<unknown> {
    const before = this.received.length;
    this.socket.send(JSON.stringify({ event, data }));
    await eventually(() => expect(this.received.length).toBeGreaterThan(before));
    return this.received[before];
  }
}

function connect({ url }: HttpApp, browser: Browser | undefined, headers: Record<string, string> = {}): Client {
  const cookie = [...(browser?.cookies ?? [])].map(([name, value]) => `${name}=${value}`).join('; ');
  return new Client(new WebSocket(url.replace('http', 'ws'), { headers: { ...(cookie && { cookie }), ...headers } }));
}

async function connected(app: HttpApp, browser: Browser, headers: Record<string, string> = {}): Promise<Client> {
  const client = connect(app, browser, headers);
  await eventually(() => expect(client.received).toHaveLength(1));
  return client;
}

async function loggedIn({ url }: HttpApp, id: string): Promise<Browser> {
  const browser = new Browser(url);
  await browser.post(`/login/${id}`);
  return browser;
}

const ENDED = { code: 4401, reason: 'session-ended' };

describe.each(PLATFORMS)('a socket on %s', (platform) => {
  it('has the session of its client, and each message is handled in the context of its user', async () => {
    const { app } = await start(undefined, {}, platform);
    const [alice, bob] = await Promise.all(['alice', 'bob'].map((id) => loggedIn(app, id)));
    const [first, second] = await Promise.all([alice, bob].map((one) => connected(app, one as Browser)));
    expect([first?.received, second?.received]).toEqual([[{ hello: 'alice' }], [{ hello: 'bob' }]]);
    const seen = await Promise.all([first?.ask('see'), second?.ask('see')]);
    expect(seen).toEqual([
      { principal: 'alice', session: 'alice', value: null },
      { principal: 'bob', session: 'bob', value: null },
    ]);
    expect(await first?.ask('put', 'red')).toEqual({ principal: 'alice', session: 'alice', value: 'red' });
    expect((await alice?.get('/read/color'))?.json).toMatchObject({ value: 'red' });
  });

  it('is closed as soon as its session is revoked, logged out or evicted, and no other is', async () => {
    const limit = { maxPerUser: { sessions: 2, policy: 'evict-oldest' as const } };
    const { app, gateway } = await start(undefined, { ...limit, upgrade: { recheckEvery: '1h' } }, platform);
    const evicted = await connected(app, await loggedIn(app, 'alice'));
    const browser = await loggedIn(app, 'alice');
    const loggedOut = await connected(app, browser);
    const revoked = await connected(app, await loggedIn(app, 'alice'));
    const other = await connected(app, await loggedIn(app, 'bob'));
    expect(await evicted.closed).toEqual(ENDED);
    await browser.post('/logout');
    expect(await loggedOut.closed).toEqual(ENDED);
    await app.sessions.revokeAll({ id: 'alice' });
    expect(await revoked.closed).toEqual(ENDED);
    expect(await other.ask('see')).toMatchObject({ principal: 'bob' });
    await eventually(() => expect(gateway.size).toBe(1));
  });
});

describe('a socket', () => {
  it('has no session where the token is missing, forged or of a session that ended', async () => {
    const { app } = await start();
    const browser = await loggedIn(app, 'alice');
    const old = browser.clone();
    await browser.post('/logout');
    const forged = new Browser(app.url);
    forged.cookies.set('sid', `${old.token?.slice(0, -3)}AAA`);
    const closed = [undefined, forged, old].map((one) => connect(app, one).closed);
    const refusal = { code: 4401, reason: 'login first' };
    expect(await Promise.all(closed)).toEqual([refusal, refusal, refusal]);
  });

  it('has no session when a page of another site opened it, which is reported', async () => {
    const { app, incidents } = await start();
    const browser = await loggedIn(app, 'alice');
    for (const origin of ['https://evil.example', 'null', `${app.url}.evil.example`, 'http://127.0.0.1:1']) {
      expect(await connect(app, browser, { origin }).closed).toMatchObject({ reason: 'login first' });
    }
    expect(incidents.map(({ code }) => code)).toEqual(Array.from({ length: 4 }, () => 'SESSION_ORIGIN_REFUSED'));
    expect((await connected(app, browser, { origin: app.url })).received).toEqual([{ hello: 'alice' }]);
  });

  it('may be opened by the origins that the options name, and by those only', async () => {
    const { app } = await start(undefined, { upgrade: { allowedOrigins: ['https://www.mall.com'] } });
    const browser = await loggedIn(app, 'alice');
    expect((await connected(app, browser, { origin: 'https://www.mall.com' })).received).toHaveLength(1);
    expect(await connect(app, browser, { origin: app.url }).closed).toMatchObject({ reason: 'login first' });
    await expect(start(undefined, { upgrade: { allowedOrigins: ['https://www.mall.com/'] } })).rejects.toThrow(
      /upgrade\.allowedOrigins/,
    );
  });

  it('gives its session by a header as well', async () => {
    const { app } = await start(undefined, { header: 'X-Auth-Token' });
    const browser = new Browser(app.url, { 'X-Auth-Token': '' });
    const token = (await browser.post('/login/alice')).headers.get('x-auth-token') ?? '';
    const client = connect(app, undefined, { 'X-Auth-Token': token });
    await eventually(() => expect(client.received).toEqual([{ hello: 'alice' }]));
  });

  it('cannot log in or change the id, for no answer would tell the client', async () => {
    const { app } = await start();
    const client = await connected(app, await loggedIn(app, 'alice'));
    expect(await client.ask('refused')).toEqual([
      'A session cannot log in over a socket: its client could not be told.',
      'A session cannot take a new id over a socket: its client could not be told.',
    ]);
    expect(await client.ask('see')).toMatchObject({ principal: 'alice' });
  });

  it('can log out: the principal is gone at once, and the socket is closed', async () => {
    const { app, gateway } = await start(new MuteStore(), { upgrade: { recheckEvery: '1h' } });
    const browser = await loggedIn(app, 'alice');
    const client = await connected(app, browser);
    client.socket.send(JSON.stringify({ event: 'logout' }));
    expect(await client.closed).toEqual(ENDED);
    expect(gateway.afterLogout).toEqual({ principal: undefined, session: undefined, value: null });
    expect((await browser.get('/read/color')).json).toMatchObject({ principal: null });
  });

  it('is closed by the next look where the store does not tell of the end', async () => {
    const { app } = await start(new MuteStore(), { upgrade: { recheckEvery: 100 } });
    const client = await connected(app, await loggedIn(app, 'alice'));
    await app.sessions.revokeAll({ id: 'alice' });
    expect(await client.closed).toEqual(ENDED);
  });

  it('is closed when its session runs out unused, and its messages are what counts as use', async () => {
    let skippedMs = 0;
    const store = new MuteStore(() => performance.timeOrigin + performance.now() + skippedMs);
    const { app } = await start(store, { idle: '60s', touchAfter: 0, upgrade: { recheckEvery: 100 } });
    const quiet = await connected(app, await loggedIn(app, 'alice'));
    const chatty = await connected(app, await loggedIn(app, 'bob'));
    const uses = (): number => store.loads.filter(({ touchAfterMs }) => Number.isFinite(touchAfterMs)).length;
    for (let step = 0; step < 3; step += 1) {
      const before = uses();
      skippedMs += 25_000;
      await chatty.ask('see');
      await eventually(() => expect(uses()).toBeGreaterThan(before));
    }
    expect(await quiet.closed).toEqual(ENDED);
    expect(await chatty.ask('see')).toMatchObject({ principal: 'bob' });
  });

  it('stays open when the store is down, which is reported, and is closed when it turns out to have ended', async () => {
    const store = new MuteStore();
    const { app, incidents } = await start(store, { upgrade: { recheckEvery: 100 } });
    const client = await connected(app, await loggedIn(app, 'alice'));
    store.isDown = true;
    await eventually(() => expect(incidents.map(({ code }) => code)).toContain('SESSION_RECHECK_FAILED'));
    expect(await client.ask('see')).toMatchObject({ principal: 'alice' });
    await app.sessions.revokeAll({ id: 'alice' });
    store.isDown = false;
    expect(await client.closed).toEqual(ENDED);
  });

  it('outlives a new id of its session, and is told of the end under that one', async () => {
    let skippedMs = 0;
    const watched: SessionKey[] = [];
    const store = new MemorySessionStore({ nowMs: () => performance.timeOrigin + performance.now() + skippedMs });
    const watch = store.watch.bind(store);
    store.watch = (key, ended) => {
      watched.push(key);
      return watch(key, ended);
    };
    const { app, gateway } = await start(store, { renewEvery: '10s', upgrade: { recheckEvery: 100 } });
    const browser = await loggedIn(app, 'alice');
    const client = await connected(app, browser);
    const old = browser.clone();
    skippedMs = 20_000;
    await browser.get('/read/color');
    expect(browser.token).not.toBe(old.token);
    await eventually(() => expect(watched).toHaveLength(2));
    await browser.get('/read/color');
    skippedMs += 60_000;
    expect((await old.get('/read/color')).json).toMatchObject({ exists: false });
    await gateway.any.session.reload();
    expect(await client.ask('see')).toMatchObject({ principal: 'alice' });
    await app.sessions.revokeAll({ id: 'alice' });
    expect(await client.closed).toEqual(ENDED);
  });

  it('loses no update of a request while its own computes, also when the session is looked at meanwhile', async () => {
    let skippedMs = 0;
    const store = new MemorySessionStore({ nowMs: () => performance.timeOrigin + performance.now() + skippedMs });
    const { app, gateway } = await start(store, { renewEvery: '10s', upgrade: { recheckEvery: '1h' } });
    const browser = await loggedIn(app, 'alice');
    await connected(app, browser);
    const upgraded = gateway.any;
    let attempts = 0;
    const update = (between: () => Promise<unknown>): Promise<number | undefined> =>
      upgraded.session.update<number>('count', async (count = 0) => {
        attempts += 1;
        if (attempts === 1) await between();
        return count + 1;
      });
    const looked = update(async () => {
      await browser.post('/count');
      await upgraded.check();
    });
    expect(await looked).toBe(2);
    // Under an id that was renewed, and whose old one leads there no more.
    skippedMs += 20_000;
    await browser.get('/read/count');
    await upgraded.check();
    await browser.get('/read/count');
    skippedMs += 60_000;
    attempts = 0;
    expect(await update(() => browser.post('/count'))).toBe(4);
    expect(attempts).toBe(2);
  });

  it('is watched once, also when it is looked at before the watch has begun', async () => {
    let begin = (): void => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    let watches = 0;
    let unwatched = 0;
    let looks = 0;
    const store = new MemorySessionStore();
    const load = store.load.bind(store);
    store.load = (request) => {
      looks += 1;
      return load(request);
    };
    store.watch = async () => {
      watches += 1;
      await begun;
      return async () => {
        unwatched += 1;
      };
    };
    const { app, gateway } = await start(store, { upgrade: { recheckEvery: 100 } });
    const browser = await loggedIn(app, 'alice');
    const connecting = connected(app, browser);
    await eventually(() => expect(watches).toBe(1));
    await eventually(() => expect(looks).toBeGreaterThan(1));
    begin();
    await connecting;
    await gateway.any.close();
    expect({ watches, unwatched }).toEqual({ watches: 1, unwatched: 1 });
  });

  it('is no longer looked after when it has closed, and a message that comes after the end is refused', async () => {
    const store = new MuteStore();
    const { app, gateway } = await start(store, { upgrade: { recheckEvery: 100 } });
    const client = await connected(app, await loggedIn(app, 'alice'));
    const upgraded = gateway.any;
    client.socket.close();
    await eventually(() => expect(upgraded.signal.aborted).toBe(true));
    expect(() => upgraded.run(() => undefined)).toThrow(/has ended/);
    const told: string[] = [];
    upgraded.onEnd((reason) => told.push(reason));
    const witness = await connected(app, await loggedIn(app, 'bob'));
    const id = upgraded.session.handle;
    const before = store.loads.length;
    await eventually(() => expect(store.loads.length).toBeGreaterThan(before + 2));
    expect(store.loads.slice(before).map(({ key }) => key.id)).not.toContain(id);
    expect(told).toEqual([]);
    expect(await witness.ask('see')).toMatchObject({ principal: 'bob' });
  });

  it('gets no session when its client has left before it was found', async () => {
    const { app } = await start();
    const browser = await loggedIn(app, 'alice');
    const request = new IncomingMessage(new Socket().destroy());
    request.headers = { host: '127.0.0.1', cookie: `sid=${browser.token}` };
    expect(await app.sessions.fromUpgrade(request)).toBeUndefined();
  });

  it('is told of a shutdown once its messages are handled', async () => {
    const { app, gateway } = await start();
    const client = await connected(app, await loggedIn(app, 'alice'));
    let open = (): void => undefined;
    gateway.gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const answer = client.ask('wait');
    await eventually(() => expect(gateway.waiting).toBe(1));
    const { signal } = gateway.any;
    let isDraining = false;
    const drain = async (): Promise<void> => {
      isDraining = true;
    };
    app.app.get(DrainService).register({ name: 'witness', phase: 'work', drain });
    const closing = app.close();
    await eventually(() => expect(isDraining).toBe(true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(signal.aborted).toBe(false);
    open();
    expect(await answer).toMatchObject({ principal: 'alice' });
    await closing;
    expect(signal.aborted).toBe(true);
    expect((await client.closed).code).toBe(1001);
  });
});
