import 'reflect-metadata';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { createGzip } from 'node:zlib';
import { Incidents } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { GateController, MEGABYTE } from './support/gate.controller.js';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { down, ShakyStore } from './support/shaky-store.js';

describe.each(PLATFORMS)('the answer of a session on %s', (platform) => {
  const store = new ShakyStore();
  const incidents: string[] = [];
  let shop: HttpApp;
  beforeAll(async () => {
    shop = await startHttpApp({ platform, controllers: [GateController], session: { store: store.driver } });
    shop.app.get(Incidents).subscribe(({ code }) => incidents.push(code));
  });
  afterAll(() => shop.close());
  afterEach(() => {
    store.mend();
    incidents.length = 0;
  });

  const visitor = (): Browser => new Browser(shop.url);
  const formOf = async (browser: Browser): Promise<unknown> => (await browser.get('/seen')).json.form;
  async function begun(): Promise<Browser> {
    const browser = visitor();
    await browser.post('/answers/json');
    return browser;
  }

  it.each([
    ['json', 200, '{"ok":true}'],
    ['text', 200, 'text'],
    ['buffer', 200, undefined],
    ['nothing', 200, ''],
    ['number', 200, '7'],
    ['observable', 200, '{"ok":true}'],
    ['not-found', 404, undefined],
    ['defect', 500, undefined],
  ])('by %s leaves once its changes are saved', async (form, status, text) => {
    const browser = visitor();
    const answer = await browser.post(`/answers/${form}`);
    expect(answer.status).toBe(status);
    if (text !== undefined) expect(answer.text).toBe(text);
    expect(answer.setCookies).toHaveLength(1);
    expect(await formOf(browser)).toBe(form);
    expect((await browser.get('/current')).json).toEqual({ form });
  });

  it.each([
    ['no-content', 204],
    ['not-modified', 304],
    ['redirect', 302],
    ['passthrough', 201],
  ])('by %s leaves with its own status and headers', async (form, status) => {
    const browser = visitor();
    const answer = await browser.post(`/${form}`);
    expect(answer.status).toBe(status);
    expect(browser.token).toBeDefined();
    if (form === 'redirect') expect(answer.headers.get('location')).toBe('/elsewhere');
    if (form === 'not-modified') expect(answer.headers.get('etag')).toBe('"a"');
    if (form === 'passthrough') {
      expect(answer.headers.get('x-own')).toBe('yes');
      expect(browser.cookies.get('own')).toBe('1');
    }
    expect(await formOf(browser)).toBe(form);
  });

  it('to HEAD leaves with its cookie and no body', async () => {
    const browser = visitor();
    const answer = await browser.get('/answers/json', { method: 'HEAD' });
    expect(answer).toMatchObject({ status: 200, text: '' });
    expect(await formOf(browser)).toBe('json');
  });

  it.each(['answers/streamable', 'raw/pipe', 'raw/pipeline', 'raw/generator', 'raw/backpressure'])(
    'by %s has every byte of a megabyte that had to wait',
    async (path) => {
      const browser = visitor();
      const drained = once(GateController.events, 'drained');
      const response = await fetch(`${shop.url}/${path}`, { method: 'POST' });
      expect(Buffer.from(await response.arrayBuffer()).equals(MEGABYTE)).toBe(true);
      const [pair = ''] = (response.headers.getSetCookie()[0] ?? '').split(';');
      browser.cookies.set('sid', pair.slice(4));
      expect(await formOf(browser)).toBe(path.split('/')[1]);
      if (path === 'raw/backpressure') expect(await drained).toEqual([14]);
    },
  );

  it('by events has all of them', async () => {
    const browser = visitor();
    const answer = await browser.get('/sse');
    expect(answer.headers.get('content-type')).toContain('text/event-stream');
    expect(answer.text.match(/data: \w+/g)).toEqual(['data: one', 'data: two']);
    expect(await formOf(browser)).toBe('sse');
  });

  it.each(['none', 'object', 'flat', 'message', 'message and object'])(
    'by writeHead with %s has the headers of the handler and the cookie of the session',
    async (form) => {
      const browser = visitor();
      const answer = await browser.post(`/write-head/${form}`);
      expect(answer.status).toBe(202);
      expect(answer.text).toBe(form);
      expect(answer.headers.get('x-before')).toBe('yes');
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect(browser.token).toBeDefined();
      const own = /object|flat/.test(form);
      expect(answer.headers.get('x-own')).toBe(own ? 'yes' : null);
      if (form === 'flat') expect(answer.headers.get('x-many')).toBe('a, b');
      const cookies = ['own', ...(form === 'object' || form === 'flat' ? ['two'] : [])];
      if (own) expect([...browser.cookies.keys()].sort()).toEqual([...cookies, 'sid'].sort());
      expect(await formOf(browser)).toBe(form);
    },
  );

  it.each([
    ['flush', 'abc'],
    ['callbacks', 'abc'],
    ['double end', 'abc'],
    ['head twice', 'abc'],
  ])('by raw calls (%s) is whole and in order', async (form, text) => {
    const browser = visitor();
    const ended = once(GateController.events, 'ended');
    expect((await browser.post(`/raw/${form}`)).text).toBe(text);
    expect(await formOf(browser)).toBe(form);
    if (form === 'callbacks') await ended;
  });

  it('that Node refuses to send once it may leave is an error, and no crash', async () => {
    const browser = visitor();
    expect((await browser.post('/raw/bad status')).status).toBe(500);
    expect(incidents).toContain('ANSWER_REFUSED_BY_NODE');
  });

  it('ends when what was set after its head is saved, and a session cannot begin by then', async () => {
    const browser = await begun();
    expect((await browser.post('/late?value=late')).text).toBe('begun set');
    expect(await formOf(browser)).toBe('late');
    expect((await visitor().post('/late?value=late')).text).toMatch(/^begun A session cannot begin/);
  });

  it('does not lose what is set after it has ended', async () => {
    const browser = await begun();
    const set = once(GateController.events, 'set');
    await browser.post('/afterwards?value=afterwards');
    await set;
    await eventually(async () => expect(await formOf(browser)).toBe('afterwards'));
  });

  it('to a client that has left does not keep its changes from being saved', async () => {
    const browser = await begun();
    let open = (): void => undefined;
    GateController.opened = new Promise((resolve) => {
      open = resolve;
    });
    const entered = once(GateController.events, 'entered');
    const leaving = new AbortController();
    const asked = browser.clone().get('/slow?value=aborted', { method: 'POST', signal: leaving.signal });
    await entered;
    leaving.abort();
    await expect(asked).rejects.toThrow();
    const set = once(GateController.events, 'set');
    open();
    await set;
    await eventually(async () => expect(await formOf(browser)).toBe('aborted'));
  });

  it('belongs to its request where two come on one connection at once', async () => {
    const [first, second] = [await begun(), await begun()];
    const { hostname, port } = new URL(shop.url);
    const socket = connect(Number(port), hostname);
    const requestOf = (browser: Browser, value: string, close = false): string =>
      `POST /answers/${value} HTTP/1.1\r\nHost: localhost\r\nCookie: sid=${browser.token}\r\nContent-Length: 0\r\n` +
      `${close ? 'Connection: close\r\n' : ''}\r\n`;
    socket.write(requestOf(first, 'text') + requestOf(second, 'number', true));
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    expect(
      Buffer.concat(chunks)
        .toString()
        .match(/(?<=\r\n\r\n)(?:text|7)/g),
    ).toEqual(['text', '7']);
    expect(await formOf(first)).toBe('text');
    expect(await formOf(second)).toBe('number');
  });

  it.each(['endless?by=pipe', 'endless?by=pipeline', 'endless-file'])(
    'that cannot be given leaves nothing open of %s',
    async (path) => {
      const browser = await begun();
      store.failure = (step) => (step === 'save' ? down(step) : undefined);
      const answer = await browser.post(`/${path}`);
      expect(answer.status).toBe(503);
      expect(answer.json).toMatchObject({ code: 'STORE_UNAVAILABLE' });
      await eventually(() => expect(GateController.lastSource?.destroyed).toBe(true));
    },
  );
});

describe.each(['before', 'after'] as const)('an answer that is compressed by a middleware that comes %s', (when) => {
  it('is whole, saved first, and has the cookie of the session', async () => {
    const store = new ShakyStore();
    const shop = await startHttpApp({
      platform: 'express',
      controllers: [GateController],
      session: { store: store.driver },
      configure: (app) => {
        app.use((request: SessionedRequest, response: CompressedResponse, next: () => void) => {
          // The gate stands in front of what is put on the response before it, and behind what comes later.
          if (when === 'after') request.session['middleware'] = 'yes';
          compress(response);
          next();
        });
      },
    });
    const browser = new Browser(shop.url);
    const answer = await browser.post('/raw/pipe');
    expect(answer.headers.get('content-encoding')).toBe('gzip');
    expect(answer.text).toBe(MEGABYTE.toString());
    expect((await browser.get('/seen')).json).toEqual({ form: 'pipe' });
    store.failure = (step) => (step === 'save' ? down(step) : undefined);
    const refused = await browser.post('/answers/text');
    expect(refused.status).toBe(503);
    expect(refused.json).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await shop.close();
  });
});

describe('an answer by HTTP/2', () => {
  it('leaves once its changes are saved, and is an error where they cannot be', async () => {
    const store = new ShakyStore();
    const shop = await startHttpApp({
      platform: 'fastify',
      adapter: new FastifyAdapter({ http2: true } as object),
      controllers: [GateController],
      session: { store: store.driver },
    });
    const client = connectHttp2(shop.url);
    const ask = async (method: string, path: string, cookie = ''): Promise<Http2Answer> => {
      const stream = client.request({ ':method': method, ':path': path, ...(cookie && { cookie }) });
      stream.end();
      const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(chunk as Buffer);
      return { status: headers[':status'], cookies: headers['set-cookie'] as string[], body: Buffer.concat(chunks) };
    };
    const first = await ask('POST', '/answers/streamable');
    expect(first.body.equals(MEGABYTE)).toBe(true);
    const cookie = first.cookies[0]?.split(';')[0] ?? '';
    expect(JSON.parse(String((await ask('GET', '/seen', cookie)).body))).toEqual({ form: 'streamable' });
    for (const path of ['/answers/json', '/raw/flush', '/raw/pipe', '/write-head/object', '/no-content']) {
      expect((await ask('POST', path, cookie)).status, path).toBeLessThan(300);
    }
    expect(JSON.parse(String((await ask('GET', '/seen', cookie)).body))).toEqual({ form: 'no-content' });
    store.failure = (step) => (step === 'save' ? down(step) : undefined);
    const refused = await ask('POST', '/answers/json', cookie);
    expect(refused.status).toBe(503);
    expect(JSON.parse(String(refused.body))).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    client.close();
    await shop.close();
  });
});

interface Http2Answer {
  readonly status: unknown;
  readonly cookies: readonly string[];
  readonly body: Buffer;
}

interface SessionedRequest {
  readonly session: Record<string, unknown>;
}

interface CompressedResponse extends NodeJS.EventEmitter {
  headersSent: boolean;
  setHeader(name: string, value: string): void;
  getHeader(name: string): unknown;
  removeHeader(name: string): void;
  writeHead(...args: unknown[]): unknown;
  write(chunk: unknown, encoding?: unknown): boolean;
  end(chunk?: unknown): unknown;
}

/** As middleware for Express compresses: it takes the place of all three, and writes on from the events of a stream. */
function compress(response: CompressedResponse): void {
  const writeHead = response.writeHead.bind(response);
  const write = response.write.bind(response);
  const end = response.end.bind(response);
  const on = response.on.bind(response);
  const drained: (() => void)[] = [];
  let zip: ReturnType<typeof createGzip> | undefined;
  let hasHead = false;
  const begin = (): void => {
    hasHead = true;
    const length = response.getHeader('Content-Length');
    if (length !== undefined && Number(length) < 1_024) return;
    zip = createGzip();
    response.setHeader('Content-Encoding', 'gzip');
    response.removeHeader('Content-Length');
    zip.on('data', (chunk) => {
      if (!write(chunk)) zip?.pause();
    });
    zip.on('end', () => end());
    on('drain', () => zip?.resume());
    for (const listener of drained) zip.on('drain', listener);
  };
  response.on = (event: string, listener: () => void) => {
    if (event !== 'drain') return on(event, listener);
    if (zip) zip.on('drain', listener);
    else drained.push(listener);
    return response;
  };
  response.writeHead = (...args) => {
    if (!hasHead) begin();
    return writeHead(...args);
  };
  response.write = (chunk) => {
    if (!response.headersSent && !hasHead) response.writeHead(200);
    return zip ? zip.write(chunk as Buffer) : write(chunk);
  };
  response.end = (chunk) => {
    if (!response.headersSent && !hasHead) begin();
    if (!zip) return end(chunk);
    return zip.end(chunk as Buffer);
  };
}
