import type { DriverProvider } from '@lockstep/core';
import { Incidents } from '@lockstep/core';
import {
  LOCK_STORE,
  LockModule,
  type LockModuleOptions,
  LockService,
  type LockStore,
  MemoryLockStore,
} from '@lockstep/lock';
import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

export interface LockApp {
  readonly app: INestApplicationContext;
  readonly locks: LockService;
  readonly store: LockStore;
  readonly codes: string[];
}

@Module({})
class Root {}

/** An application with locks; `codes` fills with the incidents it reports. */
export async function startLockApp(
  options: LockModuleOptions = {},
  store: DriverProvider<LockStore> = { useFactory: () => new MemoryLockStore() },
  imports: readonly object[] = [],
  stores: Readonly<Record<string, DriverProvider<LockStore>>> = {},
): Promise<LockApp> {
  const modules = [...imports, LockModule.forRoot({ ...options, store, stores })];
  const app = await NestFactory.createApplicationContext(
    { module: Root, imports: modules as never[] },
    { logger: false, abortOnError: false },
  );
  const codes: string[] = [];
  app.get(Incidents).subscribe(({ code }) => codes.push(code));
  return { app, locks: app.get(LockService), store: app.get<LockStore>(LOCK_STORE), codes };
}
