export { FencedRedis, type FencedRedisOptions, type FencedWriteOptions, fencedRedis } from './fenced-redis.js';
export { type RedisLockStoreOptions, redisLockStore } from './redis-lock.options.js';
export { RedisLockStore } from './redis-lock-store.js';
