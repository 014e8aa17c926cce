export { type RedisLockStoreOptions, redisLockStore } from './redis-lock.options.js';
export { RedisLockStore } from './redis-lock-store.js';
