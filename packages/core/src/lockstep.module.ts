import { Module } from '@nestjs/common';
import { CoreModule } from './core.module.js';
import { CORE_OPTIONS, resolveCoreOptions } from './core.options.js';
import { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } from './lockstep.module-definition.js';

/** Options for the application as a whole: keyring, shutdown. */
@Module({
  imports: [CoreModule],
  providers: [{ provide: CORE_OPTIONS, inject: [MODULE_OPTIONS_TOKEN], useFactory: resolveCoreOptions }],
  exports: [CORE_OPTIONS],
})
export class LockstepModule extends ConfigurableModuleClass {}
