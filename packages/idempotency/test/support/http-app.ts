import 'reflect-metadata';
import { type DriverProvider, type Incident, Incidents } from '@lockstep/core';
import {
  IdempotencyModule,
  type IdempotencyModuleOptions,
  type IdempotencyStore,
  MemoryIdempotencyStore,
} from '@lockstep/idempotency';
import { type INestApplication, Module, type ModuleMetadata, type Type } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';

export type Platform = 'express' | 'fastify';

export interface HttpApp {
  readonly app: INestApplication;
  readonly url: string;
  readonly incidents: Incident[];
  close(): Promise<void>;
}

export interface HttpAppInit extends ModuleMetadata {
  readonly platform: Platform;
  readonly controllers: Type[];
  readonly store?: DriverProvider<IdempotencyStore>;
  readonly options?: Partial<IdempotencyModuleOptions>;
  /** As `main.ts` would do it, before the application is initialised. */
  readonly configure?: (app: INestApplication) => void;
}

interface ScopedRequest {
  readonly headers: Readonly<Record<string, string | undefined>>;
}

export const SECRET = 'a secret that only the tests know';

export function silentMemoryStore(): DriverProvider<IdempotencyStore> {
  return { useFactory: () => new MemoryIdempotencyStore() };
}

export async function startHttpApp(init: HttpAppInit): Promise<HttpApp> {
  const { platform, configure, store, options, imports = [], ...metadata } = init;
  const module = IdempotencyModule.forRoot({
    scope: (context) => context.switchToHttp().getRequest<ScopedRequest>().headers['x-user'] ?? 'anonymous',
    secret: SECRET,
    store: store ?? silentMemoryStore(),
    ...options,
  });
  @Module({ ...metadata, imports: [...imports, module] })
  class AppModule {}
  const testing = await Test.createTestingModule({ imports: [AppModule] }).compile();
  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter({ forceCloseConnections: true });
  const app = testing.createNestApplication(adapter as ExpressAdapter, { logger: false });
  configure?.(app);
  const incidents: Incident[] = [];
  app.get(Incidents, { strict: false }).subscribe((incident) => incidents.push(incident));
  await app.listen(0, '127.0.0.1');
  return { app, url: await app.getUrl(), incidents, close: () => app.close() };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as it came. */
  readonly bytes: Buffer;
}

export interface Sending {
  readonly method?: string;
  readonly key?: string;
  readonly user?: string;
  /** Goes as JSON. */
  readonly body?: unknown;
  /** Goes as it is. */
  readonly raw?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export async function send(url: string, init: Sending = {}): Promise<Answer> {
  const response = await fetch(url, {
    redirect: 'manual',
    method: init.method ?? 'POST',
    headers: {
      ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(init.key === undefined ? {} : { 'idempotency-key': init.key }),
      ...(init.user === undefined ? {} : { 'x-user': init.user }),
      ...init.headers,
    },
    ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
    ...(init.raw === undefined ? {} : { body: init.raw }),
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, text: bytes.toString(), bytes };
}

export function problem(answer: Answer): Record<string, unknown> {
  return JSON.parse(answer.text) as Record<string, unknown>;
}
