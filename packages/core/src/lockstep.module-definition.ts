import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { LockstepModuleOptions } from './core.options.js';

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<LockstepModuleOptions>({
  moduleName: 'Lockstep',
})
  .setClassMethodName('forRoot')
  .setExtras({}, (definition) => ({ ...definition, global: true }))
  .build();
