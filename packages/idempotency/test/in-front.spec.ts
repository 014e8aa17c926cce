import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { ClassSerializerInterceptor, type INestApplication } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import * as transformer from 'class-transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useCompression } from './support/compression.js';
import { type HttpApp, send, startHttpApp } from './support/http-app.js';
import { OrdersController } from './support/orders.controller.js';
import { OwnAnswersController } from './support/own-answers.controller.js';
import { ProfilesController } from './support/profiles.controller.js';
import { StreamsController } from './support/streams.controller.js';

describe.each(['express', 'fastify'] as const)('compression in front of %s', (platform) => {
  let http: HttpApp;
  beforeAll(async () => {
    const controllers = [OrdersController, OwnAnswersController, StreamsController];
    http = await startHttpApp({ platform, controllers, configure: (app) => useCompression(app, platform) });
  });
  afterAll(() => http.close());

  it.each([
    'orders',
    'own/ways/json',
    'own/ways/sent%20text',
    'streams/results/a%20file%20of%20a%20stream',
    'streams/results/a%20generator',
    ...(platform === 'express'
      ? ['own/ways/a%20file', 'own/ways/pieces']
      : ['own/ways/a%20stream', 'own/ways/a%20Response']),
  ])('is done anew for each client, the same as without us: %s', async (path) => {
    const key = randomUUID();
    const answers = [];
    for (const encoding of ['gzip', 'identity', 'gzip']) {
      answers.push(await send(`${http.url}/${path}`, { key, headers: { 'accept-encoding': encoding } }));
    }
    expect(answers.map(({ headers }) => headers.get('content-encoding'))).toEqual(['gzip', null, 'gzip']);
    expect(answers.map(({ headers }) => headers.get('idempotent-replayed'))).toEqual([null, 'true', 'true']);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(answers[0]?.text).not.toBe('');
    expect(new Set(answers.map(({ headers }) => headers.get('content-type'))).size).toBe(1);
  });
});

describe.each(['express', 'fastify'] as const)('a global serializer on %s', (platform) => {
  const transformerPackage = transformer as never;
  const configure = (app: INestApplication): void => {
    app.useGlobalInterceptors(new ClassSerializerInterceptor(app.get(Reflector), { transformerPackage }));
  };
  const shown = { id: 1, name: 'Ada' };

  it.each(['profiles/own', 'profiles/list', 'profiles/observed'])(
    'has had its say when an answer is kept: what it excludes leaks to nobody: %s',
    async (path) => {
      const http = await startHttpApp({
        platform,
        controllers: [ProfilesController],
        configure,
        options: { scope: 'global' },
      });
      const key = randomUUID();
      const first = await send(`${http.url}/${path}`, { key, user: 'alice' });
      const second = await send(`${http.url}/${path}`, { key, user: 'mallory' });
      expect(JSON.parse(first.text)).toEqual(path.endsWith('list') ? [shown] : shown);
      expect(second.text).toBe(first.text);
      expect(second.headers.get('idempotent-replayed')).toBe('true');
      await http.close();
    },
  );

  it('is asked again for another user, whose key is another one', async () => {
    const http = await startHttpApp({ platform, controllers: [ProfilesController], configure });
    const key = randomUUID();
    const [alice, mallory] = [
      await send(`${http.url}/profiles/of-user`, { key, user: 'alice' }),
      await send(`${http.url}/profiles/of-user`, { key, user: 'mallory' }),
    ];
    expect([alice.text, mallory.text]).toEqual(['{"id":1,"name":"alice"}', '{"id":2,"name":"mallory"}']);
    expect(mallory.headers.get('idempotent-replayed')).toBeNull();
    await http.close();
  });
});
