import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { type BeginOutcome, type BeginRequest, Idempotent, MemoryIdempotencyStore } from '@lockstep/idempotency';
import {
  Body,
  Controller,
  HostParam,
  type INestApplication,
  Post,
  VERSION_NEUTRAL,
  Version,
  VersioningType,
} from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { afterEach, describe, expect, it } from 'vitest';
import { type Answer, type HttpApp, problem, send, startHttpApp } from './support/http-app.js';
import { ran, runs } from './support/orders.controller.js';

type Versioning = Parameters<INestApplication['enableVersioning']>[0];

@Controller('orders')
class Orders {
  @Post()
  @Version(['3', '1'])
  @Idempotent()
  async first(): Promise<object> {
    return { version: 1 };
  }

  @Post()
  @Idempotent()
  @Version('2')
  async second(): Promise<object> {
    return { version: 2 };
  }
}

@Controller({ path: 'bills', version: '1' })
class Bills {
  @Post()
  @Idempotent()
  async place(): Promise<object> {
    return { version: 1 };
  }
}

@Controller({ path: 'bills', version: '2' })
class BillsAnew extends Bills {
  @Post()
  @Idempotent()
  override async place(): Promise<object> {
    return { version: 2 };
  }
}

@Controller({ path: 'rooms', host: 'a.example.com' })
class RoomsOfA {
  @Post()
  @Idempotent()
  async book(): Promise<object> {
    return { host: 'a' };
  }
}

@Controller({ path: 'rooms', host: ['b.example.com', 'c.example.com'] })
class RoomsOfB {
  @Post()
  @Idempotent()
  async book(): Promise<object> {
    return { host: 'b' };
  }
}

@Controller({ path: 'desks', host: ':tenant.example.com' })
class Desks {
  @Post()
  @Idempotent()
  async book(@HostParam('tenant') tenant: string): Promise<object> {
    return { tenant };
  }
}

@Controller({ path: 'notes', version: VERSION_NEUTRAL })
class Notes {
  @Post()
  @Idempotent()
  async place(@Body() body: unknown): Promise<object> {
    return { times: ran('notes'), body };
  }
}

let http: HttpApp | undefined;

afterEach(async () => {
  await http?.close();
  http = undefined;
  runs.clear();
});

class NamingStore extends MemoryIdempotencyStore {
  readonly names: string[] = [];

  override async begin(request: BeginRequest): Promise<BeginOutcome> {
    this.names.push(request.operation);
    return super.begin(request);
  }
}

async function start(
  platform: 'express' | 'fastify',
  configure: (app: INestApplication) => void,
  store = new MemoryIdempotencyStore(),
): Promise<HttpApp> {
  const controllers = [Orders, Bills, BillsAnew, Notes];
  http = await startHttpApp({ platform, controllers, configure, store: { useFactory: () => store } });
  return http;
}

const HEADER: Versioning = { type: VersioningType.HEADER, header: 'x-version' };
const KINDS: readonly [string, Versioning, (version: string) => Record<string, string>][] = [
  ['a header', HEADER, (version) => ({ 'x-version': version })],
  ['a media type', { type: VersioningType.MEDIA_TYPE, key: 'v=' }, (version) => ({ accept: `*/*;v=${version}` })],
  [
    'an extractor',
    {
      type: VersioningType.CUSTOM,
      extractor: (request) => (request as { headers: Record<string, string> }).headers['x-custom'] ?? '',
    },
    (version) => ({ 'x-custom': version }),
  ],
];

describe.each(['express', 'fastify'] as const)('versions of a route on %s', (platform) => {
  for (const [name, versioning, headers] of KINDS) {
    it(`chosen by ${name} are different operations: none is answered with what another one said`, async () => {
      const { url } = await start(platform, (app) => app.enableVersioning(versioning));
      for (const path of ['/orders', '/bills']) {
        const key = randomUUID();
        const post = (version: string): Promise<Answer> => send(`${url}${path}`, { key, headers: headers(version) });
        const answers = [await post('1'), await post('2'), await post('1'), await post('2')];
        expect(answers.map(({ text }) => text)).toEqual(
          ['1', '2', '1', '2'].map((version) => `{"version":${version}}`),
        );
        expect(answers.map((answer) => answer.headers.get('idempotent-replayed'))).toEqual([
          null,
          null,
          'true',
          'true',
        ]);
      }
    });
  }

  it('that one handler serves are one operation', async () => {
    const { url } = await start(platform, (app) => app.enableVersioning(HEADER));
    const key = randomUUID();
    await send(`${url}/orders`, { key, headers: { 'x-version': '1' } });
    const again = await send(`${url}/orders`, { key, headers: { 'x-version': '3' } });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
  });

  it('are part of the name of an operation, unless its path says them or it is neutral', async () => {
    const store = new NamingStore();
    const post = async (path: string): Promise<void> => {
      const answer = await send(`${http?.url}${path}`, { key: randomUUID(), headers: { 'x-version': '1' } });
      expect(answer.status).toBe(201);
    };
    await start(platform, (app) => app.enableVersioning(HEADER), store);
    for (const path of ['/orders', '/bills', '/notes']) await post(path);
    await http?.close();
    await start(platform, (app) => app.enableVersioning({ type: VersioningType.URI }), store);
    for (const path of ['/v1/orders', '/v1/bills', '/notes']) await post(path);
    expect(store.names).toEqual([
      'POST /orders version 1,3',
      'POST /bills version 1',
      'POST /notes',
      'POST /v1/orders',
      'POST /v1/bills',
      'POST /notes',
    ]);
  });
});

/** `fetch` does not let go of the host that it connects to. */
function postTo(host: string, url: string, key: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { host, 'idempotency-key': key };
    const posted = request(url, { method: 'POST', headers }, (response) => {
      text(response).then((body) => resolve(`${response.statusCode} ${body}`), reject);
    });
    posted.on('error', reject).end();
  });
}

describe('hosts of a route', () => {
  it('are different operations: no host is answered with what another one said', async () => {
    // Fastify cannot tell routes apart by their host.
    http = await startHttpApp({ platform: 'express', controllers: [RoomsOfA, RoomsOfB] });
    const { url } = http;
    const key = randomUUID();
    const hosts = ['a.example.com', 'b.example.com', 'c.example.com', 'a.example.com'];
    const answers: string[] = [];
    for (const host of hosts) answers.push(await postTo(host, `${url}/rooms`, key));
    expect(answers).toEqual(['201 {"host":"a"}', '201 {"host":"b"}', '201 {"host":"b"}', '201 {"host":"a"}']);
  });

  it.each(['express', 'fastify'] as const)(
    'that one route matches are told apart by their parameters on %s',
    async (platform) => {
      http = await startHttpApp({ platform, controllers: [Desks] });
      const { url } = http;
      const key = randomUUID();
      expect(await postTo('one.example.com', `${url}/desks`, key)).toBe('201 {"tenant":"one"}');
      expect(await postTo('two.example.com', `${url}/desks`, key)).toContain('IDEMPOTENCY_KEY_REUSED');
      expect(await postTo('one.example.com', `${url}/desks`, key)).toBe('201 {"tenant":"one"}');
    },
  );
});

describe('a body on Express that nobody has parsed', () => {
  const post = (url: string, key: string, type: string, body: string): Promise<Answer> =>
    send(`${url}/notes`, { key, raw: body, headers: { 'content-type': type } });

  it.each(['text/plain', 'application/xml', 'application/octet-stream'])(
    'is refused, because another payload could not be told from it: %s',
    async (type) => {
      const { url } = await start('express', () => undefined);
      const answer = await post(url, randomUUID(), type, 'hello');
      expect(problem(answer)).toMatchObject({
        status: 415,
        code: 'IDEMPOTENCY_PAYLOAD_UNREADABLE',
        detail: expect.stringContaining('register a body parser'),
        operationState: 'not-started',
        safeNewKey: true,
      });
      expect(runs.get('notes')).toBeUndefined();
    },
  );

  it('is refused before a claim is made: the key stays free for a payload that can be read', async () => {
    const { url } = await start('express', () => undefined);
    const key = randomUUID();
    expect((await post(url, key, 'text/plain', 'hello')).status).toBe(415);
    expect((await post(url, key, 'application/json', '{"a":1}')).status).toBe(201);
  });

  it('is refused also where its length is not announced', async () => {
    const { url } = await start('express', () => undefined);
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('hello'));
        controller.close();
      },
    });
    const headers = { 'content-type': 'text/plain', 'idempotency-key': randomUUID() };
    const response = await fetch(`${url}/notes`, { method: 'POST', headers, body, duplex: 'half' } as RequestInit);
    expect(response.status).toBe(415);
  });

  it('is told apart by the bytes that a middleware left in rawBody', async () => {
    const { url } = await start('express', (app) =>
      app.use((request: { rawBody?: Buffer } & AsyncIterable<Buffer>, _response: unknown, next: () => void) => {
        void readAll(request).then((bytes) => {
          request.rawBody = bytes;
          next();
        });
      }),
    );
    const key = randomUUID();
    expect((await post(url, key, 'text/plain', 'hello')).status).toBe(201);
    expect((await post(url, key, 'text/plain', 'hello')).headers.get('idempotent-replayed')).toBe('true');
    expect((await post(url, key, 'text/plain', 'world')).status).toBe(422);
  });

  it('is told apart once a parser is registered', async () => {
    const { url } = await start('express', (app) => (app as NestExpressApplication).useBodyParser('text'));
    const key = randomUUID();
    expect((await post(url, key, 'text/plain', 'hello')).status).toBe(201);
    expect((await post(url, key, 'text/plain', 'world')).status).toBe(422);
  });

  it('is no body at all when nothing was sent', async () => {
    const { url } = await start('express', () => undefined);
    expect((await send(`${url}/notes`, { key: randomUUID() })).status).toBe(201);
  });

  it('does not keep uploads out: the parts of multipart bodies are read later', async () => {
    const { url } = await start('express', () => undefined);
    const answer = await post(url, randomUUID(), 'multipart/form-data; boundary=x', '--x--');
    expect(answer.status).toBe(201);
  });
});

async function readAll(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
