import type { DriverProvider } from '@lockstep/core';
import { CoreModule, type Incident, Incidents } from '@lockstep/core';
import { LOCK_STORE, LockModule, LockService } from '@lockstep/lock';
import type { RedlockStore } from '@lockstep/lock/redlock';
import { eventually, type RedisServer, type RedisServerOptions, startRedis } from '@lockstep/testing';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

type AnyStore = RedlockStore<bigint | undefined>;

export interface OpenedRedlock {
  readonly store: AnyStore;
  readonly locks: LockService;
  readonly incidents: Incident[];
  close(): Promise<void>;
}

@Module({})
class Root {}

/** Independent masters, started side by side. */
export function startNodes(count: number, options: RedisServerOptions = {}): Promise<RedisServer[]> {
  return Promise.all(Array.from({ length: count }, () => startRedis(options)));
}

/** A store as an application gets it. */
export async function openRedlock(provider: DriverProvider<unknown>, isReady = true): Promise<OpenedRedlock> {
  const imports = [CoreModule, LockModule.forRoot({ store: provider as never })];
  const app = await NestFactory.createApplicationContext(
    { module: Root, imports },
    { logger: false, abortOnError: false },
  );
  const incidents: Incident[] = [];
  app.get(Incidents).subscribe((incident) => incidents.push(incident));
  const store: AnyStore = app.get(LOCK_STORE);
  // As after the start of an application: the first request need not wait for connections.
  if (isReady)
    await eventually(() => Promise.all(store.nodes.map(({ connection }) => connection.command('test', 'ping'))));
  return { store, locks: app.get(LockService), incidents, close: () => app.close() };
}

/** Two processes' worth of stores on the same nodes. */
export async function openRedlockRivals(
  provider: () => DriverProvider<unknown>,
): Promise<{ store: AnyStore; rival: AnyStore; close(): Promise<void> }> {
  const [one, other] = await Promise.all([openRedlock(provider()), openRedlock(provider())]);
  const close = async (): Promise<void> => {
    await Promise.all([one.close(), other.close()]);
  };
  return { store: one.store, rival: other.store, close };
}

export function nodesOf(servers: readonly RedisServer[]): { readonly url: string }[] {
  return servers.map(({ url }) => ({ url }));
}
