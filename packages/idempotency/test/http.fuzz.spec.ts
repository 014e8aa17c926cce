import 'reflect-metadata';
import { request } from 'node:http';
import { Idempotent } from '@lockstep/idempotency';
import { seed } from '@lockstep/testing';
import { Body, Controller, type INestApplication, Param, Post, Query, Res } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpApp, startHttpApp } from './support/http-app.js';

interface Fuzzed {
  readonly path: string;
  readonly headers: Record<string, string | string[]>;
  readonly body: Buffer;
}

interface Sent {
  readonly status: number;
  readonly replayed: boolean;
  readonly body: string;
}

/** What no server can make JSON of, however it came, is left out. */
function echoed(body: unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(body ?? null));
  } catch {
    return 'too deep';
  }
}

/** Says back what it was given, by each of the ways there are to answer. */
@Controller('echo')
class EchoController {
  @Post('value/:id')
  @Idempotent()
  async value(@Body() body: unknown, @Query() query: object): Promise<unknown> {
    return { body: echoed(body), query };
  }

  @Post('bare/:id')
  @Idempotent({ required: false })
  async bare(@Body() body: unknown): Promise<unknown> {
    return echoed(body);
  }

  @Post('own/:id')
  @Idempotent()
  async own(@Res() response: { send(body: unknown): unknown }, @Body() body: unknown, @Param('id') id: string) {
    response.send({ id, body: echoed(body) });
  }
}

/** Node's own client, because `fetch` refuses much of what an attacker would send. */
function post(url: string, { path, headers, body }: Fuzzed): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${url}/echo/${path}`, { method: 'POST', headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          replayed: response.headers['idempotent-replayed'] === 'true',
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

const latin = fc.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f);
const headerText = fc.string({ unit: latin.map((code) => String.fromCharCode(code)), maxLength: 600 });
const quotedLike = fc.string({ unit: fc.constantFrom('"', '\\', 'a', ';', '=', ',', ' ', '*', '1'), maxLength: 80 });
const goodKey = fc.uuid();
const key = fc.oneof(
  { weight: 4, arbitrary: goodKey },
  goodKey.map((text) => `"${text}"; v="1";w=?1`),
  headerText,
  quotedLike,
  quotedLike.map((text) => `"${text}`),
  fc.array(fc.oneof(quotedLike, goodKey), { maxLength: 3 }),
  fc.integer({ min: 200, max: 9_000 }).map((length) => 'k'.repeat(length)),
);

const prototypeNames = fc.constantFrom(
  '__proto__',
  'constructor',
  'toString',
  'toJSON',
  'then',
  'hasOwnProperty',
  'length',
);
const oddJson = fc.oneof(
  fc.json(),
  fc.json().map((text) => text.slice(0, -1)),
  fc.tuple(prototypeNames, fc.json()).map(([name, text]) => `{"${name}":${text},"a":{"${name}":null}}`),
  fc.constantFrom('1e999', '-0', '"\\ud800"', '{"a":1,"a":2}', '[,]', 'null', '', '123456789012345678901234567890'),
  fc.integer({ min: 1, max: 30_000 }).map((depth) => `{"deep":${'['.repeat(depth)}${']'.repeat(depth)}}`),
);
const body = fc.oneof(
  { weight: 4, arbitrary: oddJson.map((text) => Buffer.from(text)) },
  fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes)),
);
const contentType = fc.oneof(
  { weight: 5, arbitrary: fc.constant('application/json') },
  fc.constantFrom(
    'application/json; charset=utf-16',
    'application/json; charset=bogus',
    'application/vnd.api+json',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'multipart/form-data',
    'text/plain',
    'application/octet-stream',
    ';',
  ),
);
const word = fc.constantFrom(
  'a',
  '[]',
  '[a]',
  '__proto__',
  '%00',
  '%ff',
  '%',
  '&',
  '=',
  '.',
  '[[',
  'x'.repeat(300),
  '1',
);
const query = fc.array(word, { maxLength: 8 }).map((words) => words.join(''));
const place = fc.oneof(
  fc.constantFrom('value/a', 'bare/1', 'own/1', 'own/__proto__'),
  fc.string({ maxLength: 40 }).map((id) => `value/${encodeURIComponent(id)}`),
);

const fuzzed: fc.Arbitrary<Fuzzed> = fc
  .record({
    place,
    query,
    key: fc.option(key),
    contentType,
    body,
    encoding: fc.constantFrom(undefined, 'gzip', 'bogus'),
  })
  .map((all) => ({
    path: `${all.place}?${all.query}`,
    headers: {
      'content-type': all.contentType,
      ...(all.key === null ? {} : { 'idempotency-key': all.key }),
      ...(all.encoding === undefined ? {} : { 'content-encoding': all.encoding }),
    },
    body: all.body,
  }));

describe.each(['express', 'fastify'] as const)('fuzzed requests on %s', (platform) => {
  const rejections: unknown[] = [];
  const note = (reason: unknown): number => rejections.push(reason);
  let http: HttpApp;
  beforeAll(async () => {
    process.on('unhandledRejection', note);
    const configure = (app: INestApplication): void => {
      if (platform === 'express') (app as NestExpressApplication).set('query parser', 'extended');
    };
    http = await startHttpApp({ platform, controllers: [EchoController], configure });
  });
  afterAll(async () => {
    await http.close();
    process.off('unhandledRejection', note);
  });

  it('are never answered with a server error, and their repetition gets the same', async () => {
    await fc.assert(
      fc.asyncProperty(fuzzed, async (given) => {
        const first = await post(http.url, given);
        const second = await post(http.url, given);
        expect(first.status).toBeLessThan(500);
        expect(second.status).toBe(first.status);
        if (!second.replayed) return;
        expect(second.body).toBe(first.body);
      }),
      { seed: seed(), numRuns: 400 },
    );
    expect(rejections).toEqual([]);
  });
});
