import 'reflect-metadata';
import { type Incident, Incidents, RequestContext } from '@lockstep/core';
import { IdempotencyModule, type IdempotencyModuleExtras, type IdempotencyModuleOptions } from '@lockstep/idempotency';
import type { ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { SECRET, silentMemoryStore } from './http-app.js';

export interface MethodApp {
  readonly app: TestingModule;
  readonly incidents: Incident[];
}

/** An application without HTTP: what a worker is. */
export async function startMethodApp(
  metadata: ModuleMetadata,
  options: Partial<IdempotencyModuleOptions & IdempotencyModuleExtras> = {},
): Promise<MethodApp> {
  const module = IdempotencyModule.forRoot({ scope: 'global', secret: SECRET, store: silentMemoryStore(), ...options });
  const app = await Test.createTestingModule({ ...metadata, imports: [...(metadata.imports ?? []), module] }).compile();
  app.useLogger(false);
  const incidents: Incident[] = [];
  app.get(Incidents, { strict: false }).subscribe((incident) => incidents.push(incident));
  await app.init();
  return { app, incidents };
}

export function as<T>(id: string, fn: () => T, tenant?: string): T {
  const context = new RequestContext();
  context.principal = tenant === undefined ? { id } : { id, tenant };
  return RequestContext.run(context, fn);
}
