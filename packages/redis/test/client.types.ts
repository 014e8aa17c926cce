import type { RedisClient, RedisModuleOptions } from '@lockstep/redis';
import type { Cluster, Redis } from 'ioredis';

declare const redis: Redis;
declare const cluster: Cluster;

export const clients: readonly RedisClient[] = [redis, cluster];
export const options: RedisModuleOptions = { client: redis, namespace: 'mall' };
// @ts-expect-error a namespace is required: two applications on one Redis must not share keys by accident
export const noNamespace: RedisModuleOptions = { client: cluster };
