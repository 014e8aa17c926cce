export type { RedisArgument, RedisClient } from './client/redis-client.js';
export { RedisScriptError } from './redis.errors.js';
export { RedisModule } from './redis.module.js';
export type { RedisModuleOptions } from './redis.options.js';
export { RedisConnection } from './redis-connection.js';
export { ReplicaBarrier, type ReplicaBarrierOptions } from './replica-barrier.js';
export { RedisScript } from './script/redis-script.js';
export type { ScriptReceiver } from './script/script-batch.js';
export type { ScriptDefinition } from './script/script-definition.js';
