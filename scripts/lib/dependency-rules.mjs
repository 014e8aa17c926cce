// Which package may import which (ARCHITECTURE: one direction, never back), as data.

const capabilities = [
  'lock',
  'idempotency',
  'session',
  'outbox',
  'transaction',
  'ordering',
  'cache',
  'stock',
  'coordination',
];
const ground = ['core', 'sql', 'redis'];

/** Package → the house packages that it may name in package.json and import. `testing` is below everything. */
export const mayImport = {
  testing: [],
  core: ['testing'],
  sql: ['core', 'testing'],
  redis: ['core', 'testing'],
  ...Object.fromEntries(capabilities.map((name) => [name, [...ground, 'testing']])),
  bullmq: [...ground, ...capabilities, 'testing'],
  nats: [...ground, 'outbox', 'testing'],
  ops: [...ground, ...capabilities, 'testing'],
  'sample-app': [...ground, ...capabilities, 'bullmq', 'ops', 'testing'],
};

/** House packages that may be imported only from some folders, so that a user without them loses one driver, not all. */
export const placedImports = [
  { name: 'redis', by: capabilities, only: /^drivers\/(redis|redlock)\//, where: 'src/drivers/redis' },
  { name: 'sql', by: ['lock', 'idempotency', 'session'], only: /^drivers\//, where: 'src/drivers' },
  {
    name: 'testing',
    by: [...ground, ...capabilities, 'bullmq', 'nats', 'ops'],
    only: /^contract\//,
    where: 'src/contract',
  },
];

/**
 * Clients of servers and test tools: optional peers, so a static import outside these folders breaks users that do not
 * have them. A type is erased, and `await import()` runs only when the client is wanted.
 */
export const placedClients = [
  { name: 'ioredis', only: /^(drivers|contract)\// },
  { name: 'pg', only: /^(drivers|contract)\// },
  { name: 'mysql2', only: /^drivers\/mariadb\// },
  { name: '@nestjs-cls/transactional', only: /^bridges\/cls\// },
  { name: 'nestjs-cls', only: /^bridges\/cls\// },
  { name: 'vitest', only: /^(notifications\/)?(contract|vitest)\// },
  // Only types by shape: whoever uses one of them has none of the others.
  ...['typeorm', '@prisma/client', 'drizzle-orm', 'kysely', 'knex', '@mikro-orm/core', '@mikro-orm/postgresql'].map(
    (name) => ({ name, only: /^$/ }),
  ),
];

/** Clients of brokers, each known to one package only. */
export const ownedClients = [
  { client: /^bullmq$/, owner: 'bullmq' },
  { client: /^@nats-io\//, owner: 'nats' },
];
