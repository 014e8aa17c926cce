export {
  type LocatedPostgres,
  type LocatedServer,
  type LocatedZooKeeper,
  ServerNotAvailableError,
  type ServerSource,
} from './located-server.js';
export { locatePostgres } from './postgres.provision.js';
export { locateRedis } from './redis.provision.js';
export { locateZooKeeper } from './zookeeper.provision.js';
