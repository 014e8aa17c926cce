import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { IdempotencyModule, IdempotencyService } from '@lockstep/idempotency';
import { sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import { SqlModule } from '@lockstep/sql';
import { type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type HttpApp, SECRET, send, startHttpApp } from './support/http-app.js';
import { OrdersController, runs } from './support/orders.controller.js';
import { SQL_SERVERS } from './support/sql-servers.js';
import { driverOf } from './support/sql-store.js';

describe.each(SQL_SERVERS)('@Idempotent on $name', (server) => {
  const database = server.use();
  let http: HttpApp;
  let proxy: FaultProxy;
  beforeAll(async () => {
    proxy = await startFaultProxy({ target: database.url });
    http = await startHttpApp({
      platform: 'fastify',
      controllers: [OrdersController],
      imports: [SqlModule.forRoot({ driver: driverOf(proxy.urlFor(database.url), 4), commandTimeout: '2s' })],
      store: sqlIdempotencyStore(),
      options: { sweepEvery: '1h' },
    });
  });
  beforeEach(() => runs.clear());
  afterAll(async () => {
    await http.close();
    await proxy.stop();
  });

  const post = (init: Parameters<typeof send>[1] = {}) => send(`${http.url}/orders`, { body: {}, ...init });

  it('runs a handler once and replays what it answered, and refuses the key for another payload', async () => {
    const key = randomUUID();
    const first = await post({ key });
    const again = await Promise.all([1, 2, 3].map(() => post({ key })));
    expect(first.status).toBe(201);
    for (const each of again) expect(each).toMatchObject({ status: 201, text: first.text });
    expect((await post({ key, body: { sku: 'other' } })).status).toBe(422);
    expect(runs.get('place')).toBe(1);
  });

  it('answers 503 with Retry-After and runs nothing while the database is away, and goes on when it is back', async () => {
    const key = randomUUID();
    proxy.refuse();
    proxy.cut();
    const refused = await post({ key });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    expect(runs.size).toBe(0);
    await proxy.heal();
    expect((await post({ key })).status).toBe(201);
  });
});

describe.each(SQL_SERVERS)('a repetition that waits in another process, on $name', (server) => {
  const database = server.use();
  let processes: TestingModule[];
  beforeAll(async () => {
    processes = await Promise.all(
      [1, 2].map(async () => {
        const module = await Test.createTestingModule({
          imports: [
            SqlModule.forRoot({ driver: driverOf(database.url, 4), commandTimeout: '5s' }),
            IdempotencyModule.forRoot({ scope: 'global', secret: SECRET, store: sqlIdempotencyStore() }),
          ],
        }).compile();
        return module.init();
      }),
    );
  });
  afterAll(() => Promise.all(processes.map((each) => each.close())));

  it('gets the first answer soon after it is there', async () => {
    const [first, other] = processes.map((each) => each.get(IdempotencyService));
    const operation = { scope: 'test', operation: 'charge', key: randomUUID(), payload: {} };
    let finish: (answer: string) => void = () => undefined;
    const answer = new Promise<string>((resolve) => {
      finish = resolve;
    });
    let start: () => void = () => undefined;
    const started = new Promise<void>((resolve) => {
      start = resolve;
    });
    const running = first?.run(operation, () => {
      start();
      return answer;
    });
    await started;
    const waiting = other?.run(operation, () => Promise.reject(new Error('it ran')), { waitMs: 20_000 });
    const finishedAt = monotonicMs();
    finish('done');
    expect(await waiting).toBe('done');
    expect(monotonicMs() - finishedAt).toBeLessThan(5_000);
    await running;
  });
});
