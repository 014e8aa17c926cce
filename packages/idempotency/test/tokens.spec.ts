import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { currentIdempotency, IdempotencyTokens, NotApplied, operationId, type TokenMode } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { seed } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpApp, type HttpAppInit, startHttpApp } from './support/http-app.js';
import { recordKey } from './support/redis-keys.js';

const server = useRedis();
const MODES: readonly TokenMode[] = ['stored', 'stateless', 'single'];
const INVALID = { code: 'IDEMPOTENCY_TOKEN_INVALID' };
const PURPOSES = {
  stateless: { mode: 'stateless' },
  single: { mode: 'single' },
  'pay-stateless': { mode: 'stateless' },
  'pay-single': { mode: 'single' },
} as const;

function start(options: HttpAppInit['options'] = {}): Promise<HttpApp> {
  return startHttpApp({
    platform: 'express',
    controllers: [],
    options: { tokens: { purposes: PURPOSES }, ...options },
  });
}

describe.each(['memory', 'redis'] as const)('IdempotencyTokens in %s', (store) => {
  let http: HttpApp;
  let tokens: IdempotencyTokens;
  beforeAll(async () => {
    const redis = RedisModule.forRoot({ url: server.url, namespace: `${server.prefix}tokens` });
    http = await startHttpApp({
      platform: 'express',
      controllers: [],
      options: { tokens: { purposes: PURPOSES } },
      ...(store === 'redis' ? { imports: [redis], store: redisIdempotencyStore() } : {}),
    });
    tokens = http.app.get(IdempotencyTokens);
  });
  afterAll(() => http.close());

  const whose = (purpose: string): { purpose: string; scope: string } => ({ purpose, scope: `user-${randomUUID()}` });

  it.each(['stored', 'stateless'])('run the work of a %s token once and hand out its first result', async (mode) => {
    const bound = whose(mode);
    const use = { ...bound, payload: { qty: 1 }, token: await tokens.issue(bound) };
    const results = [
      await tokens.run(use, async () => ({ at: randomUUID() })),
      await tokens.run(use, async () => null),
    ];
    expect(results[1]).toEqual(results[0]);
  });

  it.each(['stored', 'stateless'])(
    'restore a %s token when nothing was applied, and throw what was meant',
    async (mode) => {
      const bound = whose(mode);
      const token = await tokens.issue(bound);
      const error = new Error('the partner refused');
      const failing = async (): Promise<never> => {
        throw new NotApplied(error);
      };
      await expect(tokens.run({ ...bound, token, payload: 1 }, failing)).rejects.toBe(error);
      expect(await tokens.run({ ...bound, token, payload: 2 }, async () => 'done')).toBe('done');
    },
  );

  it('throw what was meant in mode single too, where the token is used up', async () => {
    const bound = whose('single');
    const use = { ...bound, payload: 1, token: await tokens.issue(bound) };
    const error = new Error('the partner refused');
    const failing = async (): Promise<never> => {
      throw new NotApplied(error);
    };
    await expect(tokens.run(use, failing)).rejects.toBe(error);
    await expect(tokens.run(use, async () => 1)).rejects.toMatchObject(INVALID);
  });

  it.each(MODES)('let one of a hundred concurrent uses of a %s token run', async (mode) => {
    const bound = whose(mode);
    const use = { ...bound, payload: 1, token: await tokens.issue(bound) };
    let runs = 0;
    const uses = await Promise.allSettled(
      Array.from({ length: 100 }, () =>
        tokens.run(use, async () => {
          runs += 1;
          return 'done';
        }),
      ),
    );
    expect(runs).toBe(1);
    const refused = mode === 'single' ? INVALID : { code: 'OPERATION_IN_PROGRESS' };
    for (const one of uses) {
      if (one.status === 'fulfilled') expect(one.value).toBe('done');
      else expect(one.reason).toMatchObject(refused);
    }
  });

  it('tell the work what it is part of, but in mode single', async () => {
    for (const mode of MODES) {
      const bound = whose(mode);
      const use = { ...bound, payload: 1, token: await tokens.issue(bound) };
      const isKnown = await tokens.run(use, async () => currentIdempotency() !== undefined);
      expect(isKnown).toBe(mode !== 'single');
    }
  });

  it.each(MODES)('refuse a %s token that was issued for another form of the same mode', async (mode) => {
    const bound = whose(mode);
    const use = { ...bound, payload: 1, token: await tokens.issue(bound) };
    await tokens.issue({ ...bound, purpose: `pay-${mode}` });
    await expect(tokens.run({ ...use, purpose: `pay-${mode}` }, async () => 1)).rejects.toMatchObject(INVALID);
    expect(await tokens.run(use, async () => 1)).toBe(1);
  });

  it.each(MODES)('refuse a %s token of any other user whose name could be confused', async (mode) => {
    const bound = { purpose: mode, scope: 'tenant1:user' };
    const use = { ...bound, payload: 1, token: await tokens.issue(bound) };
    for (const scope of ['tenant1:use', 'tenant1:userr', ' ', 'Tenant1:user', `${mode}tenant1:user`]) {
      await expect(tokens.run({ ...use, scope }, async () => 1)).rejects.toMatchObject(INVALID);
    }
    expect(await tokens.run(use, async () => 1)).toBe(1);
  });

  it.each(MODES)('refuse everything that is not the %s token, character by character', async (mode) => {
    const bound = whose(mode);
    const token = await tokens.issue(bound);
    const mutated = fc
      .tuple(fc.nat(token.length - 1), fc.constantFrom('A', 'b', '7', '-', '_', '.', '', '%', ' ', 'é', '\0'))
      .map(([at, text]) => token.slice(0, at) + text + token.slice(at + 1));
    const anything = fc.oneof(
      mutated,
      mutated,
      fc.string({ maxLength: 200, unit: 'binary' }),
      fc.constant(`${token}.`),
    );
    await fc.assert(
      fc.asyncProperty(
        anything.filter((one) => one !== token),
        async (forged) => {
          const use = { ...bound, token: forged, payload: 1 };
          await expect(tokens.run(use, async () => 1)).rejects.toMatchObject(INVALID);
        },
      ),
      { seed: seed(), numRuns: 200 },
    );
    expect(await tokens.run({ ...bound, token, payload: 1 }, async () => 1)).toBe(1);
  });

  it('refuse a scope that is none before anything is asked', async () => {
    const forgotten = { purpose: 'stored', scope: undefined as unknown as string };
    await expect(tokens.issue(forgotten)).rejects.toMatchObject({ code: 'IDEMPOTENCY_OPERATION_INVALID' });
    await expect(tokens.issue({ purpose: 'no name', scope: 'ann' })).rejects.toThrow("'purpose'");
  });
});

describe('stateless tokens', () => {
  const bound = { purpose: 'stateless', scope: 'ann' };

  it('outlive a change of keys while the old key is known, and not longer', async () => {
    const keys = { old: 'the old key of the tokens', new: 'the new key of the tokens' };
    const withKeys = (current: string, known: Record<string, string>) =>
      start({ tokens: { mode: 'stateless', keyring: { current, keys: known } } });
    const before = await withKeys('old', keys);
    const during = await withKeys('new', keys);
    const after = await withKeys('new', { new: keys.new });
    const use = { ...bound, payload: 1, token: await before.app.get(IdempotencyTokens).issue(bound) };
    expect(await during.app.get(IdempotencyTokens).run(use, async () => 'done')).toBe('done');
    await expect(after.app.get(IdempotencyTokens).run(use, async () => 1)).rejects.toMatchObject(INVALID);
    await Promise.all([before, during, after].map((http) => http.close()));
  });

  it('are the same operation under whichever of two equal keys they are signed', async () => {
    const key = 'one key under two names';
    const http = await start({ tokens: { mode: 'stateless', keyring: { current: 'a', keys: { a: key, b: key } } } });
    const tokens = http.app.get(IdempotencyTokens);
    const token = await tokens.issue(bound);
    const use = { ...bound, payload: 1, token };
    const first = await tokens.run(use, async () => randomUUID());
    const renamed = token.replace('.a.', '.b.');
    expect(await tokens.run({ ...use, token: renamed }, async () => randomUUID())).toBe(first);
    await http.close();
  });

  it('are of no use where another secret was set', async () => {
    const [one, other] = [await start(), await start({ secret: 'another secret that only the tests know' })];
    const token = await one.app.get(IdempotencyTokens).issue(bound);
    const run = other.app.get(IdempotencyTokens).run({ ...bound, payload: 1, token }, async () => 1);
    await expect(run).rejects.toMatchObject(INVALID);
    await Promise.all([one.close(), other.close()]);
  });

  it('keep their record for as long as they count, however short the retention of the route', async () => {
    const http = await startHttpApp({
      platform: 'express',
      controllers: [],
      imports: [RedisModule.forRoot({ url: server.url, namespace: `${server.prefix}kept` })],
      store: redisIdempotencyStore(),
      options: { tokens: { mode: 'stateless', ttl: '2h' } },
    });
    const tokens = http.app.get(IdempotencyTokens);
    const token = await tokens.issue(bound);
    await tokens.run({ ...bound, payload: 1, token }, async () => 1, { retentionMs: 1_000 });
    const redis = http.app.get(RedisConnection, { strict: false });
    const [, end, nonce] = token.split('.');
    const id = operationId({ scope: bound.scope, operation: 'token:stateless', key: `${end}.${nonce}` });
    const leftMs = Number(await redis.command('test', 'pttl', recordKey(redis, id)));
    expect(leftMs).toBeGreaterThan(Number.parseInt(end ?? '', 36) - Date.now() + 30_000);
    await http.close();
  });
});
