export {
  type LocatedPostgres,
  type LocatedServer,
  ServerNotAvailableError,
  type ServerSource,
} from './located-server.js';
export { locatePostgres } from './postgres.provision.js';
export { locateRedis } from './redis.provision.js';
