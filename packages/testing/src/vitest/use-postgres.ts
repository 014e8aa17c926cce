import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll } from 'vitest';
import { executeSql } from './execute-sql.js';
import { sharedServerUrl, TEST_POSTGRES_URL } from './server-urls.js';

export interface PostgresFixture {
  /** URL of the empty database; known from `beforeAll` on. */
  readonly url: string;
}

/**
 * Gives the spec file an empty database of its own on the Postgres of this test run, dropped at the end together with
 * connections that the spec forgot. Call it at the top of a `describe` or a file.
 */
export function usePostgres(): PostgresFixture {
  const name = `test_${randomBytes(6).toString('hex')}`;
  let url: string | undefined;

  beforeAll(async () => {
    const shared = sharedServerUrl(TEST_POSTGRES_URL);
    await executeSql(shared, `CREATE DATABASE ${name}`);
    const own = new URL(shared);
    own.pathname = `/${name}`;
    url = own.href;
  });
  afterAll(async () => {
    if (url !== undefined) await executeSql(sharedServerUrl(TEST_POSTGRES_URL), `DROP DATABASE ${name} WITH (FORCE)`);
  });

  return {
    get url(): string {
      if (url === undefined)
        throw new Error('The database exists from beforeAll on: read `url` inside a hook or a test');
      return url;
    },
  };
}
