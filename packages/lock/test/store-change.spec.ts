import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { SqlFences, sqlFences } from '@lockstep/lock/sql';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';
import { hold } from './support/lock-requests.js';
import { openPostgres } from './support/postgres-store.js';
import { openRedisStore } from './support/redis-store.js';

describe('a resource whose locks move from one store to another', () => {
  const postgres = usePostgres();
  const server = useRedis();

  it('accepts the fences of Postgres after those of Redis, and of Redis after those of Postgres', async () => {
    const sqlModule = SqlModule.forRoot({ driver: pgDriver({ url: postgres.url }) });
    const guarded = await Test.createTestingModule({ imports: [sqlModule], providers: [sqlFences()] }).compile();
    await guarded.init();
    const key = randomUUID();
    const touch = (fence: bigint) => guarded.get(SqlFences).touch(guarded.get(Sql), key, fence);
    const redis = await openRedisStore({ url: server.url, namespace: server.prefix });
    const first = await hold(redis.store, { key });
    await touch(first.fence);
    await redis.store.release([{ ...first, deadline: 0 }]);
    const moved = await openPostgres(postgres.url);
    const second = await hold(moved.store, { key });
    expect(second.fence).toBeGreaterThan(first.fence);
    await touch(second.fence);
    await expect(touch(first.fence)).rejects.toMatchObject({ code: 'STALE_FENCE' });
    const third = await hold(redis.store, { key });
    expect(third.fence).toBeGreaterThan(second.fence);
    await touch(third.fence);
    await Promise.all([guarded.close(), moved.app.close(), redis.app.close()]);
  });
});
