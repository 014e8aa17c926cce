export { RedisLockStore, type RedisLockStoreOptions, redisLockStore } from './redis-lock-store.js';
