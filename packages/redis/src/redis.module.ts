import { CoreModule, DrainService, Incidents } from '@lockstep/core';
import { Module } from '@nestjs/common';
import { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } from './redis.module-definition.js';
import type { RedisModuleOptions } from './redis.options.js';
import { RedisConnection } from './redis-connection.js';

/**
 * Gives the drivers of all capabilities their {@link RedisConnection}. The application starts while Redis is down;
 * operations fail with 503 until it is back.
 */
@Module({
  imports: [CoreModule],
  providers: [
    {
      provide: RedisConnection,
      inject: [MODULE_OPTIONS_TOKEN, Incidents, DrainService],
      useFactory: openConnection,
    },
  ],
  exports: [RedisConnection],
})
export class RedisModule extends ConfigurableModuleClass {}

async function openConnection(
  options: RedisModuleOptions,
  incidents: Incidents,
  drain: DrainService,
): Promise<RedisConnection> {
  const connection = await RedisConnection.open(options, incidents);
  drain.register({ name: 'redis connection', phase: 'connections', drain: () => connection.close() });
  return connection;
}
