export {
  type LocatedMariaDb,
  type LocatedPostgres,
  type LocatedServer,
  type LocatedZooKeeper,
  ServerNotAvailableError,
  type ServerSource,
} from './located-server.js';
export { locateMariaDb } from './mariadb.provision.js';
export { locateNats } from './nats.provision.js';
export { locatePostgres } from './postgres.provision.js';
export { locateRedis } from './redis.provision.js';
export { locateZooKeeper } from './zookeeper.provision.js';
