import { randomBytes } from 'node:crypto';
import type { BullmqServerOptions } from '@lockstep/bullmq';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';

export interface Backend {
  readonly name: string;
  /** Options of a server with nothing on it; known from `beforeAll` on. */
  options(): BullmqServerOptions & { readonly namespace: string };
}

/** Both servers of the test run. Call it at the top of a file. */
export function useBackends(): Backend[] {
  const redis = useRedis();
  const postgres = usePostgres();
  const namespace = `t${randomBytes(6).toString('hex')}`;
  return [
    { name: 'redis', options: () => ({ redis: { url: redis.url }, namespace }) },
    { name: 'postgres', options: () => ({ postgres: { url: postgres.url }, namespace }) },
  ];
}
