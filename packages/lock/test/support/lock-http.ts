import { LockModule, type LockStore, MemoryLockStore } from '@lockstep/lock';
import type { INestApplication, ModuleMetadata } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';

export type Platform = 'express' | 'fastify';
export const PLATFORMS: readonly Platform[] = ['express', 'fastify'];

export interface LockHttpApp {
  readonly app: INestApplication;
  readonly url: string;
  readonly store: LockStore;
}

export interface LockHttpInit extends ModuleMetadata {
  readonly platform: Platform;
  /** As `main.ts` would do it, before the application is initialised. */
  readonly configure?: (app: INestApplication) => void;
}

/** An application with locks that listens on loopback, on a port of its own. */
export async function serveLocked({ platform, configure, ...metadata }: LockHttpInit): Promise<LockHttpApp> {
  const store = new MemoryLockStore();
  const locks = LockModule.forRoot({ wait: 0, store: { useFactory: () => store } });
  const module = await Test.createTestingModule({
    ...metadata,
    imports: [...(metadata.imports ?? []), locks],
  }).compile();
  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter({ forceCloseConnections: true });
  const app = module.createNestApplication(adapter as ExpressAdapter, { logger: false });
  configure?.(app);
  await app.listen(0, '127.0.0.1');
  return { app, url: await app.getUrl(), store };
}
