import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { Idempotent, NotApplied } from '@lockstep/idempotency';
import { Controller, Get, HttpException, NotFoundException, Param, Post, Res } from '@nestjs/common';
import { gate, ran } from './orders.controller.js';

/** What the tests use of a response of Express. */
export interface ExpressResponse extends ServerResponse {
  status(code: number): this;
  type(name: string): this;
  json(body: unknown): this;
  send(body?: unknown): this;
  sendStatus(code: number): this;
  append(name: string, value: string | string[]): this;
  cookie(name: string, value: string): this;
  redirect(code: number, url: string): void;
  sendFile(path: string): void;
  download(path: string, name: string): void;
}

/** What the tests use of a reply of Fastify. */
export interface Reply {
  readonly raw: ServerResponse;
  code(code: number): this;
  header(name: string, value: unknown): this;
  type(name: string): this;
  send(payload?: unknown): this;
  serializer(serialize: (payload: unknown) => string): this;
  redirect(url: string, code: number): this;
  hijack(): this;
}

type Way<T> = (response: T, times: number) => unknown;

const file = join(mkdtempSync(join(tmpdir(), 'answers-')), 'report.csv');
writeFileSync(file, 'sku;count\n'.repeat(500));

/** They answer on Node's own response, which both servers have. */
const rawWays: Record<string, Way<ServerResponse>> = {
  nothing: (raw) => raw.end(),
  'no content': (raw) => raw.writeHead(204).end(),
  text: (raw, times) => raw.end(`text ${times} ✓`),
  'encoded text': (raw, times) => raw.end(`6f6b${times}${times}`, 'hex'),
  pieces: (raw, times) => {
    raw.setHeader('Content-Type', 'text/plain');
    raw.write(`one ${times}`);
    raw.write(Buffer.from([0, 255]));
    raw.end('three');
  },
  'a head of its own': (raw, times) =>
    raw
      .writeHead(203, 'Fine', { 'Content-Type': 'text/csv', Link: ['</a>; rel=next', '</b>; rel=prev'] })
      .end(`a;${times}`),
  'a head as a list': (raw, times) =>
    raw.writeHead(203, ['Content-Type', 'text/csv', 'Link', '</a>', 'Link', '</b>']).end(`a;${times}`),
  'a pipe': (raw, times) => Readable.from(['sku;', `${times}`]).pipe(raw),
  'a pipe of known length': (raw) => Readable.from(['sku;', 'four']).pipe(raw.setHeader('Content-Length', 8)),
  'flushed headers': async (raw, times) => {
    raw.setHeader('Content-Type', 'text/plain');
    raw.flushHeaders();
    await sleep(5);
    raw.end(`late ${times}`);
  },
  'later than its promise': (raw, times) => void setTimeout(() => raw.end(`later ${times}`), 20),
};

const expressWays: Record<string, Way<ExpressResponse>> = {
  ...rawWays,
  json: (response, times) => response.status(202).json({ times, at: new Date(0) }),
  'sent text': (response, times) => response.send(`<p>${times}</p>`),
  'sent bytes': (response, times) => response.type('image/png').send(Buffer.from([0, 255, times])),
  'a status': (response) => response.sendStatus(202),
  'a redirect': (response, times) => response.redirect(303, `/orders/${times}`),
  'a file': (response) => response.sendFile(file),
  'a download': (response) => response.download(file, 'Bericht.csv'),
  'a list of headers': (response, times) =>
    response.append('Link', '</a>; rel=next').append('Link', '</b>; rel=prev').json({ times }),
  'a cookie': (response, times) => response.cookie('sid', 's3cret').json({ times }),
};

const fastifyWays: Record<string, Way<Reply>> = {
  ...Object.fromEntries(
    Object.entries(rawWays).map(([name, way]) => [
      name,
      (reply: Reply, times: number) => {
        reply.hijack();
        return way(reply.raw, times);
      },
    ]),
  ),
  'raw without hijack': ({ raw }, times) => void raw.end(`raw ${times}`),
  json: (reply, times) => void reply.code(202).send({ times, at: new Date(0) }),
  'sent text': (reply, times) => void reply.send(`text ${times}`),
  'sent bytes': (reply, times) => void reply.type('image/png').send(Buffer.from([0, 255, times])),
  'a view on memory': (reply, times) => void reply.send(new Uint16Array([times, 513])),
  'sent nothing': (reply) => void reply.code(204).send(),
  'sent null': (reply) => void reply.send(null),
  'a redirect': (reply, times) => void reply.redirect(`/orders/${times}`, 303),
  'a stream': (reply, times) => void reply.type('text/csv').send(Readable.from(['sku;', `${times}`])),
  'a stream without a type': (reply, times) => void reply.send(Readable.from(['sku;', `${times}`])),
  'a web stream': (reply, times) =>
    void reply.type('text/csv').send(ReadableStream.from([Buffer.from(`sku;${times}`)])),
  'a Response': (reply, times) =>
    void reply.send(new Response(`sku;${times}`, { status: 203, headers: { 'Content-Type': 'text/csv' } })),
  'a serializer of its own': (reply, times) =>
    void reply
      .type('text/csv')
      .serializer((payload) => Object.values(payload as object).join(';'))
      .send({ sku: 'apple', times }),
  'a list of headers': (reply, times) =>
    void reply.header('Link', ['</a>; rel=next', '</b>; rel=prev']).send({ times }),
  'a cookie': (reply, times) => void reply.header('Set-Cookie', 'sid=s3cret').send({ times }),
  'sent later than its promise': (reply, times) => void setTimeout(() => reply.send({ times }), 20),
};

export const waysOf = (platform: 'express' | 'fastify'): string[] =>
  Object.keys(platform === 'express' ? expressWays : fastifyWays);

function rawOf(response: ExpressResponse | Reply): ServerResponse {
  return 'raw' in response ? response.raw : response;
}

@Controller('own')
export class OwnAnswersController {
  @Post('ways/:way')
  @Idempotent()
  async answer(@Res() response: ExpressResponse | Reply, @Param('way') way: string): Promise<void> {
    const times = ran(way);
    if ('raw' in response) await fastifyWays[way]?.(response, times);
    else await expressWays[way]?.(response, times);
  }

  @Get('head')
  @Idempotent()
  async head(@Res() response: ExpressResponse | Reply): Promise<void> {
    ran('head');
    if ('raw' in response) response.type('text/plain').header('Content-Length', 6).send('secret');
    else response.type('text/plain').send('secret');
  }

  @Post('large')
  @Idempotent()
  async large(@Res() response: ExpressResponse | Reply): Promise<void> {
    response.send(`${ran('own-large')}${'x'.repeat(300_000)}`);
  }

  @Post('status/:status')
  @Idempotent({
    onError: (error) => (error instanceof HttpException && error.getStatus() === 507 ? 'store' : undefined),
  })
  async status(@Res() response: ExpressResponse | Reply, @Param('status') status: string): Promise<void> {
    const times = ran(`status-${status}`);
    if ('raw' in response) response.code(Number(status)).send({ times });
    else response.status(Number(status)).json({ times });
  }

  @Post('throws')
  @Idempotent()
  async throws(@Res() _response: unknown): Promise<void> {
    throw new NotFoundException({ code: 'NO_SUCH_SKU', times: ran('throws') });
  }

  @Post('not-applied')
  @Idempotent()
  async notApplied(@Res() _response: unknown): Promise<void> {
    ran('own-not-applied');
    throw new NotApplied(new HttpException('partner refused', 502));
  }

  @Post('throws-after')
  @Idempotent()
  async throwsAfter(@Res() response: ExpressResponse | Reply): Promise<void> {
    response.send({ times: ran('throws-after') });
    throw new Error('too late');
  }

  @Post('throws-within')
  @Idempotent()
  async throwsWithin(@Res() response: ExpressResponse | Reply): Promise<void> {
    if ('raw' in response) response.hijack();
    rawOf(response).write(`${ran('throws-within')}`);
    await sleep(5);
    throw new NotFoundException('in the middle');
  }

  /** Says that it leaves the answer to Nest, and does not. */
  @Post('by-hand')
  @Idempotent()
  async byHand(@Res({ passthrough: true }) response: ExpressResponse | Reply): Promise<void> {
    response.send({ times: ran('by-hand') });
  }

  @Post('never')
  @Idempotent()
  async never(@Res() _response: unknown): Promise<void> {
    ran('never');
  }

  @Post('held/:name')
  @Idempotent()
  async held(@Res() response: ExpressResponse | Reply, @Param('name') name: string): Promise<void> {
    const times = ran(name);
    await gate(name).opened;
    response.send({ times });
  }

  /** Begins when its client has left. */
  @Post('late-pipe/:name')
  @Idempotent()
  async latePipe(@Res() response: ExpressResponse | Reply, @Param('name') name: string): Promise<void> {
    const times = ran(name);
    if ('raw' in response) response.hijack();
    await once(rawOf(response), 'close');
    Readable.from(['piped ', `${times}`]).pipe(rawOf(response));
  }

  @Post('late-endless-pipe/:name')
  @Idempotent()
  async lateEndlessPipe(@Res() response: ExpressResponse | Reply, @Param('name') name: string): Promise<void> {
    ran(name);
    if ('raw' in response) response.hijack();
    await once(rawOf(response), 'close');
    const endless = new Readable({ read: () => void endless.push(Buffer.alloc(65_536)) });
    endless.pipe(rawOf(response));
  }

  @Post('begun/:name')
  @Idempotent()
  async begun(@Res() response: ExpressResponse | Reply, @Param('name') name: string): Promise<void> {
    const times = ran(name);
    if ('raw' in response) response.hijack();
    const raw = rawOf(response);
    raw.write(`begun ${times}`);
    await gate(name).opened;
    raw.end(', ended');
  }

  @Post('endless-pipe/:name')
  @Idempotent()
  async endlessPipe(@Res() response: ExpressResponse | Reply, @Param('name') name: string): Promise<void> {
    ran(name);
    if ('raw' in response) response.hijack();
    const endless = new Readable({ read: () => undefined });
    endless.push('begun');
    endless.pipe(rawOf(response));
  }
}
