import { AsyncLocalStorage } from 'node:async_hooks';
import type { INestApplication } from '@nestjs/common';
import type { Variant } from '../server.js';
import { rawVariant } from './raw.variant.js';

type Hook = (request: unknown, response: unknown, done: () => void) => void;

const storage = new AsyncLocalStorage<object>();

/** The raw variant in a request context and nothing else: what AsyncLocalStorage costs on this Node. */
export function contextVariant(): Variant {
  return {
    ...rawVariant(),
    mount: (app: INestApplication) => {
      const adapter = app.getHttpAdapter() as unknown as { setOnRequestHook(hook: Hook): void };
      adapter.setOnRequestHook((_request, _response, done) => storage.run({}, done));
    },
  };
}
