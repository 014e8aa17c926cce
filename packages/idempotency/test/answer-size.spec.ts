import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Idempotent } from '@lockstep/idempotency';
import { Body, Controller, NotFoundException, Post } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpApp, problem, send, startHttpApp } from './support/http-app.js';

const LIMIT = 120;
/** Two bytes each, and one that is longer when it is stored than when it is sent. */
const LETTERS = 'é'.repeat(LIMIT / 2 - 1);

@Controller('sized')
class Sized {
  @Post('text')
  @Idempotent()
  async text(@Body() { more }: { more: number }): Promise<string> {
    return `${LETTERS}"\n${'x'.repeat(more)}`;
  }

  @Post('json')
  @Idempotent()
  async json(@Body() { more }: { more: number }): Promise<object> {
    return ['x'.repeat(LIMIT - '[""]'.length + more)];
  }

  @Post('bytes')
  @Idempotent()
  async bytes(@Body() { more }: { more: number }): Promise<Buffer> {
    return Buffer.alloc(LIMIT + more, 7);
  }

  @Post('error')
  @Idempotent()
  async error(@Body() { more }: { more: number }): Promise<never> {
    throw new NotFoundException({ text: 'x'.repeat(LIMIT - '{"text":""}'.length + more) });
  }
}

describe('maxResponseBytes', () => {
  let http: HttpApp;
  beforeAll(async () => {
    http = await startHttpApp({ platform: 'fastify', controllers: [Sized], options: { maxResponseBytes: LIMIT } });
  });
  afterAll(() => http.close());

  it.each(['text', 'json', 'bytes', 'error'])(
    'counts the bytes of the body that is sent and nothing else: %s',
    async (path) => {
      const post = async (key: string, more: number) => send(`${http.url}/sized/${path}`, { key, body: { more } });
      const [exact, larger] = [randomUUID(), randomUUID()];
      const first = await post(exact, 0);
      const again = await post(exact, 0);
      expect(Buffer.byteLength(first.text)).toBe(LIMIT);
      expect([again.text, again.headers.get('idempotent-replayed')]).toEqual([first.text, 'true']);
      expect(Buffer.byteLength((await post(larger, 1)).text)).toBe(LIMIT + 1);
      expect(problem(await post(larger, 1))).toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' });
    },
  );
});
