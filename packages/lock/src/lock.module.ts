import { CoreModule, checkKnown } from '@lockstep/core';
import { type DynamicModule, Module } from '@nestjs/common';
import { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, type OPTIONS_TYPE } from './lock.module-definition.js';
import { LOCK_DEFAULTS, type LockModuleOptions, resolveLockOptions } from './lock.options.js';
import { LockService } from './lock.service.js';

const NAMES: readonly (keyof LockModuleOptions)[] = ['ttl', 'wait', 'reentrant', 'fairness'];

/** Provides {@link LockService} and with it `@DistributedLock` to the whole application. */
@Module({
  imports: [CoreModule],
  providers: [LockService, { provide: LOCK_DEFAULTS, inject: [MODULE_OPTIONS_TOKEN], useFactory: resolveDefaults }],
  exports: [LockService],
})
export class LockModule extends ConfigurableModuleClass {
  /** Every option has a default. @throws ConfigurationError with a store that is no driver */
  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    // biome-ignore lint/complexity/noThisInStatic: the definition names the class that it is asked of
    return super.forRoot(options);
  }
}

function resolveDefaults(options: Parameters<typeof resolveLockOptions>[0]): ReturnType<typeof resolveLockOptions> {
  checkKnown(options, 'LockModule', NAMES);
  return Object.freeze(resolveLockOptions(options));
}
