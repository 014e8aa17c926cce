import { randomBytes } from 'node:crypto';
import { sharedServerUrl, TEST_REDIS_URL } from './server-urls.js';

export interface RedisFixture {
  readonly url: string;
  /** Random, so that specs that run side by side on one server never see each other's keys. */
  readonly prefix: string;
}

/** The Redis of this test run and a prefix of one's own. Never flush it: others are on it. */
export function useRedis(): RedisFixture {
  return { url: sharedServerUrl(TEST_REDIS_URL), prefix: `t${randomBytes(6).toString('hex')}` };
}
