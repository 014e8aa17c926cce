import type { DriverProvider } from '@lockstep/core';
import { ConfigurableModuleBuilder, type Provider } from '@nestjs/common';
import { memoryIdempotencyStore } from './drivers/memory/index.js';
import type { IdempotencyModuleOptions } from './idempotency.options.js';
import { IDEMPOTENCY_STORE, type IdempotencyStore } from './idempotency-store.js';

export interface IdempotencyModuleExtras {
  /** Where records are kept. @default memoryIdempotencyStore(), right for one process only */
  readonly store?: DriverProvider<IdempotencyStore>;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } =
  new ConfigurableModuleBuilder<IdempotencyModuleOptions>({ moduleName: 'Idempotency' })
    .setClassMethodName('forRoot')
    .setExtras<IdempotencyModuleExtras>({}, (definition, { store }) => ({
      ...definition,
      global: true,
      providers: [...(definition.providers ?? []), storeProvider(store ?? memoryIdempotencyStore())],
    }))
    .build();

function storeProvider(driver: DriverProvider<IdempotencyStore>): Provider {
  return {
    provide: IDEMPOTENCY_STORE,
    inject: [...(driver.inject ?? [])],
    useFactory: (...dependencies: unknown[]) => driver.useFactory(...dependencies),
  };
}
