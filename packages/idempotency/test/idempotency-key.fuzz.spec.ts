import 'reflect-metadata';
import { request } from 'node:http';
import { seed } from '@lockstep/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpApp, startHttpApp } from './support/http-app.js';
import { OrdersController } from './support/orders.controller.js';

/** Node's own client, because `fetch` refuses much of what an attacker would send. */
function post(url: string, headers: Record<string, string | string[]>, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method: 'POST', headers, agent: false }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

const headerText = fc.string({
  unit: fc
    .integer({ min: 0x20, max: 0xff })
    .filter((code) => code !== 0x7f)
    .map((code) => String.fromCharCode(code)),
  maxLength: 600,
});
const quotedLike = fc.string({ unit: fc.constantFrom('"', '\\', 'a', ';', '=', ',', ' ', '*', '1'), maxLength: 80 });
const key = fc.oneof(
  headerText,
  quotedLike,
  quotedLike.map((text) => `"${text}`),
  fc.array(quotedLike, { maxLength: 3 }),
);
const body = fc.oneof(
  fc.json(),
  fc.json().map((text) => text.slice(0, -1)),
  fc.integer({ min: 1, max: 30_000 }).map((depth) => `{"deep":${'['.repeat(depth)}${']'.repeat(depth)}}`),
);

describe.each(['express', 'fastify'] as const)('fuzzed requests on %s', (platform) => {
  let http: HttpApp;
  beforeAll(async () => {
    http = await startHttpApp({ platform, controllers: [OrdersController] });
  });
  afterAll(() => http.close());

  it('are never answered with a server error', async () => {
    await fc.assert(
      fc.asyncProperty(key, body, async (idempotencyKey, text) => {
        const headers = { 'content-type': 'application/json', 'idempotency-key': idempotencyKey };
        const status = await post(`${http.url}/orders`, headers, text);
        expect(status).toBeLessThan(500);
      }),
      { seed: seed(), numRuns: 300 },
    );
  });
});
