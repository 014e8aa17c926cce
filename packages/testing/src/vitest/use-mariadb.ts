import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll } from 'vitest';
import { executeMariaDb } from './execute-sql.js';
import { askOnDemand } from './on-demand-server.js';
import { sharedServerUrl, TEST_MARIADB_URL } from './server-urls.js';

export interface MariaDbFixture {
  /** URL of the empty database, `mysql://…`; known from `beforeAll` on. */
  readonly url: string;
}

/**
 * Gives the spec file an empty database of its own on the MariaDB of this test run, dropped at the end. The server is
 * started when the first file asks for it: a run without such a file pays nothing. Call it at the top of a `describe`
 * or a file.
 */
export function useMariaDb(): MariaDbFixture {
  const name = `test_${randomBytes(6).toString('hex')}`;
  let shared = '';
  let url: string | undefined;

  // The first start on a machine may download the packages.
  beforeAll(async () => {
    shared = await askOnDemand(sharedServerUrl(TEST_MARIADB_URL));
    await executeMariaDb(shared, `CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
    const own = new URL(shared);
    own.pathname = `/${name}`;
    url = own.href;
  }, 180_000);
  afterAll(async () => {
    if (url !== undefined) await executeMariaDb(shared, `DROP DATABASE ${name}`);
  });

  return {
    get url(): string {
      if (url === undefined)
        throw new Error('The database exists from beforeAll on: read `url` inside a hook or a test');
      return url;
    },
  };
}
