import { type RedisServer, startRedis } from '@lockstep/testing';
import { afterAll, beforeAll } from 'vitest';

/**
 * A Redis for the malls of one spec file alone. Malls that share a Redis are one mall: with a database each, one would
 * handle the messages of the other.
 */
export function useOwnRedis(): { readonly url: string } {
  let server: RedisServer | undefined;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server?.stop());
  return {
    get url() {
      if (!server) throw new Error('The server is there from the first beforeAll() on');
      return server.url;
    },
  };
}
