import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { RedisModule } from '@lockstep/redis';
import { MemorySessionStore } from '@lockstep/session';
import { postgresSessionStore } from '@lockstep/session/postgres';
import { redisSessionStore } from '@lockstep/session/redis';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { startFaultProxy } from '@lockstep/testing';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll } from 'vitest';
import { describeHttpSessions } from './support/http-conformance.js';

const redis = useRedis();
const postgres = usePostgres();
const namespace = `http-${randomUUID().slice(0, 8)}`;

const memory = new MemorySessionStore();
describeHttpSessions({ name: 'memory', backend: () => ({ store: { useFactory: () => memory } }) });

describeHttpSessions({
  name: 'Redis',
  backend: () => ({ modules: [RedisModule.forRoot({ url: redis.url, namespace })], store: redisSessionStore() }),
});

let proxy: Awaited<ReturnType<typeof startFaultProxy>>;
beforeAll(async () => {
  proxy = await startFaultProxy({ target: redis.url });
});
afterAll(() => proxy.stop());

describeHttpSessions({
  name: 'Redis behind a slow network whose connections were cut',
  backend: () => ({
    modules: [RedisModule.forRoot({ url: proxy.urlFor(redis.url), namespace: `${namespace}p` })],
    store: redisSessionStore(),
  }),
  trouble: () => {
    proxy.delay(3);
    proxy.cut();
  },
});

describeHttpSessions({
  name: 'Postgres',
  backend: () => ({
    modules: [SqlModule.forRoot({ driver: pgDriver({ url: postgres.url, maxConnections: 5 }), commandTimeout: '5s' })],
    store: postgresSessionStore(),
  }),
});
