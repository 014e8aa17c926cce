import type { DriverProvider } from '@lockstep/core';
import type { SessionStore } from '@lockstep/session';
import { postgresSessionStore } from '@lockstep/session/postgres';
import { redisSessionStore } from '@lockstep/session/redis';
import type { MallConfig } from './mall.config.js';

/** Where the mall keeps its sessions. All instances have them in common, so that a customer is the same at each. */
export function mallSessionStore({ redisUrl }: Pick<MallConfig, 'redisUrl'>): DriverProvider<SessionStore> {
  return redisUrl ? redisSessionStore() : postgresSessionStore();
}
