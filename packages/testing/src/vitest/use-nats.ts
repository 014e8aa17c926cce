import { randomBytes } from 'node:crypto';
import { beforeAll } from 'vitest';
import { askOnDemand } from './on-demand-server.js';
import { sharedServerUrl, TEST_NATS_URL } from './server-urls.js';

export interface NatsFixture {
  /** `nats://…`; known from `beforeAll` on. */
  readonly url: string;
  /** Random, so that specs that run side by side on one server never see each other's streams. */
  readonly namespace: string;
}

/**
 * The NATS server of this test run, with JetStream, and a namespace of one's own. The server is started when the first
 * file asks for it: a run without such a file pays nothing. Call it at the top of a `describe` or a file.
 */
export function useNats(): NatsFixture {
  let url: string | undefined;
  // The first start on a machine may download the package.
  beforeAll(async () => {
    url = await askOnDemand(sharedServerUrl(TEST_NATS_URL));
  }, 180_000);
  return {
    namespace: `t${randomBytes(6).toString('hex')}`,
    get url(): string {
      if (url === undefined)
        throw new Error('The server is known from beforeAll on: read `url` inside a hook or a test');
      return url;
    },
  };
}
