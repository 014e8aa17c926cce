export { type StatementCounter, startStatementCounter } from './counting/postgres-statement-counter.js';
export {
  type RedisCommandCounter,
  type RedisCommandCounterOptions,
  redisCommandCounter,
} from './counting/redis-command-counter.js';
export { type ChildExit, ChildHandle, ChildWaitError } from './crash/child-handle.js';
export { CHECKPOINT_CHANNEL, type CheckpointHit } from './crash/crash-plan.js';
export { type SpawnNodeOptions, spawnNode } from './crash/spawn-node.js';
export { type EventuallyOptions, EventuallyTimeoutError, eventually } from './eventually.js';
export { explore } from './explorer/explore.js';
export type { Actor, Exploration, ExplorationReport, Step } from './explorer/explorer.types.js';
export { InvariantViolation } from './explorer/invariant-violation.js';
export { PostgresFrames } from './protocol/postgres-frames.js';
export {
  type LocatedMariaDb,
  type LocatedPostgres,
  type LocatedServer,
  type LocatedZooKeeper,
  locateMariaDb,
  locateNats,
  locatePostgres,
  locateRedis,
  locateZooKeeper,
  ServerNotAvailableError,
  type ServerSource,
} from './provision/index.js';
export type { Target } from './proxy/proxied-connection.js';
export type { Direction } from './proxy/pump.js';
export { FaultProxy, type FaultProxyOptions, startFaultProxy } from './proxy/tcp-fault-proxy.js';
export { type SeededRandom, seed, seededRandom } from './random.js';
export { FakeRedis, type FakeRedisOptions, startFakeRedis } from './servers/fake-redis.server.js';
export { type FreePortOptions, freePort } from './servers/free-port.js';
export { type LocalServerOptions, type RestartOptions, ServerStartError } from './servers/local-server.js';
export { MariaDbServer, type MariaDbServerOptions, startMariaDb } from './servers/mariadb.server.js';
export { NatsServer, type NatsServerOptions, startNats } from './servers/nats.server.js';
export { PostgresServer, type PostgresServerOptions, startPostgres } from './servers/postgres.server.js';
export { RedisCluster, type RedisClusterOptions, startRedisCluster } from './servers/redis.cluster.js';
export { RedisSentinel, type RedisSentinelOptions, startRedisSentinel } from './servers/redis.sentinel.js';
export { RedisServer, type RedisServerOptions, startRedis } from './servers/redis.server.js';
export { startZooKeeper, ZooKeeperServer, type ZooKeeperServerOptions } from './servers/zookeeper.server.js';
export type { ZooKeeperSettings } from './servers/zookeeper-configuration.js';
export { withoutGuarantees } from './unit/without-guarantees.js';
