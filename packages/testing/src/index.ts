export { type EventuallyOptions, EventuallyTimeoutError, eventually } from './eventually.js';
export {
  type LocatedPostgres,
  type LocatedServer,
  locatePostgres,
  locateRedis,
  ServerNotAvailableError,
  type ServerSource,
} from './provision/index.js';
export { type LocalServerOptions, type RestartOptions, ServerStartError } from './servers/local-server.js';
export { PostgresServer, type PostgresServerOptions, startPostgres } from './servers/postgres.server.js';
export { RedisServer, type RedisServerOptions, startRedis } from './servers/redis.server.js';
