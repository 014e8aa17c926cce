import { AsyncLocalStorage } from 'node:async_hooks';
import type { DynamicModule, MiddlewareConsumer, NestModule } from '@nestjs/common';
import { noOpVariant } from './no-op.variant.js';

const storage = new AsyncLocalStorage<object>();

class ContextModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer
      .apply((_request: unknown, _response: unknown, next: () => void) => storage.run({}, next))
      .forRoutes('{*path}');
  }
}

/** The no-op variant in a request context and nothing else: what AsyncLocalStorage costs on this Node. */
export function contextVariant(): DynamicModule {
  return { module: ContextModule, imports: [noOpVariant()] };
}
