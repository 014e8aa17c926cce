export { reportSkipped } from './report-skipped.js';
export { type MariaDbFixture, useMariaDb } from './use-mariadb.js';
export { type NatsFixture, useNats } from './use-nats.js';
export { type PostgresFixture, usePostgres } from './use-postgres.js';
export { type RedisFixture, useRedis } from './use-redis.js';
export { useZooKeeper, type ZooKeeperFixture } from './use-zookeeper.js';
