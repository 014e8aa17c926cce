import { CoreModule } from '@lockstep/core';
import { Module } from '@nestjs/common';
import { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } from './lock.module-definition.js';
import { LOCK_DEFAULTS, resolveLockOptions } from './lock.options.js';
import { LockService } from './lock.service.js';

/** Provides {@link LockService} and with it `@DistributedLock` to the whole application. */
@Module({
  imports: [CoreModule],
  providers: [LockService, { provide: LOCK_DEFAULTS, inject: [MODULE_OPTIONS_TOKEN], useFactory: resolveDefaults }],
  exports: [LockService],
})
export class LockModule extends ConfigurableModuleClass {}

function resolveDefaults(options: Parameters<typeof resolveLockOptions>[0]): ReturnType<typeof resolveLockOptions> {
  return resolveLockOptions(options);
}
