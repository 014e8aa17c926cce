import { type Incident, Incidents, LockstepModule } from '@lockstep/core';
import { IdempotencyModule, type IdempotencyModuleOptions, IdempotencyService } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisModule } from '@lockstep/redis';
import type { Provider } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { SECRET } from './http-app.js';

export interface ServiceApp {
  readonly service: IdempotencyService;
  readonly module: TestingModule;
  readonly incidents: Incident[];
  close(): Promise<void>;
}

/** The service as one process has it, on Redis. */
export async function openServiceApp(
  server: { readonly url: string; readonly prefix: string },
  change: Partial<IdempotencyModuleOptions> = {},
  providers: Provider[] = [],
): Promise<ServiceApp> {
  const module = await Test.createTestingModule({
    imports: [
      LockstepModule.forRoot({ drainTimeout: '500ms' }),
      RedisModule.forRoot({ url: server.url, namespace: server.prefix }),
      IdempotencyModule.forRoot({ scope: 'global', secret: SECRET, store: redisIdempotencyStore(), ...change }),
    ],
    providers,
  }).compile();
  const incidents: Incident[] = [];
  module.get(Incidents, { strict: false }).subscribe((incident) => incidents.push(incident));
  await module.init();
  return { service: module.get(IdempotencyService), module, incidents, close: () => module.close() };
}
