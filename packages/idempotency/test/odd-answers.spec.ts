import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Idempotent } from '@lockstep/idempotency';
import { Controller, Get, HttpException, Post } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpApp, problem, send, startHttpApp } from './support/http-app.js';
import { expectReplay, twice } from './support/twice.js';

const LONG = 'x'.repeat(210);

@Controller()
class OddController {
  private reads = 0;

  @Post('nan')
  @Idempotent()
  async nan(): Promise<number> {
    return Number.NaN;
  }

  @Post('no-date')
  @Idempotent()
  async noDate(): Promise<Date> {
    return new Date(Number.NaN);
  }

  @Post('nothing-as-json')
  @Idempotent()
  async nothingAsJson(): Promise<object> {
    return { toJSON: () => null };
  }

  @Post('moved')
  @Idempotent()
  async moved(): Promise<never> {
    throw new HttpException('elsewhere', 302);
  }

  @Post(`${LONG}/one`)
  @Idempotent()
  async one(): Promise<string> {
    return 'one';
  }

  @Post(`${LONG}/two`)
  @Idempotent()
  async two(): Promise<string> {
    return 'two';
  }

  @Get('read')
  @Idempotent()
  async read(): Promise<{ reads: number }> {
    this.reads += 1;
    return { reads: this.reads };
  }
}

describe.each(['express', 'fastify'] as const)('on %s', (platform) => {
  let http: HttpApp;
  beforeAll(async () => {
    http = await startHttpApp({ platform, controllers: [OddController] });
  });
  afterAll(() => http.close());

  it.each(['nan', 'no-date', 'nothing-as-json', 'moved'])(
    'an answer that JSON cannot tell is replayed as it was: %s',
    async (path) => {
      expectReplay(await twice(`${http.url}/${path}`));
    },
  );

  it('two routes that begin alike, however long, do not answer for each other', async () => {
    const key = randomUUID();
    expect((await send(`${http.url}/${LONG}/one`, { key })).text).toBe('one');
    expect((await send(`${http.url}/${LONG}/two`, { key })).text).toBe('two');
  });

  it('a read with another condition is another request', async () => {
    const key = randomUUID();
    const read = (headers: Record<string, string>) => send(`${http.url}/read`, { key, method: 'GET', headers });
    expect((await read({})).status).toBe(200);
    expect((await read({})).headers.get('idempotent-replayed')).toBe('true');
    for (const headers of [{ 'if-none-match': '"a"' }, { range: 'bytes=0-1' }]) {
      expect(problem(await read(headers))).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
    }
  });
});
