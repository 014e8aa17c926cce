import { randomUUID } from 'node:crypto';
import { type Incident, Incidents } from '@lockstep/core';
import type { AcquireRequest, Grant, LockStore } from '@lockstep/lock';
import { type ZooKeeperLockStoreOptions, zookeeperLockStore } from '@lockstep/lock/zookeeper';
import { Logger } from '@nestjs/common';
import zookeeper, { type Client } from 'node-zookeeper-client';

export interface OpenedZooKeeper {
  readonly store: LockStore;
  /** Of each session that was opened, in their order. */
  readonly clients: readonly Client[];
  readonly incidents: readonly Incident[];
}

/** A store as an application gets it, without the lock service in front. */
export async function openZooKeeper(options: ZooKeeperLockStoreOptions): Promise<OpenedZooKeeper> {
  Logger.overrideLogger(false);
  const clients: Client[] = [];
  const incidents = new Incidents();
  const reported: Incident[] = [];
  incidents.subscribe((incident) => reported.push(incident));
  const driver = zookeeperLockStore({ ...options, prepare: (client) => clients.push(client) });
  return { store: await driver.useFactory(incidents), clients, incidents: reported };
}

export async function openRivals(
  options: ZooKeeperLockStoreOptions,
): Promise<{ readonly store: LockStore; readonly rival: LockStore }> {
  const [one, other] = await Promise.all([openZooKeeper(options), openZooKeeper(options)]);
  return { store: one.store, rival: other.store };
}

export function requestFor(key: string, request: Partial<AcquireRequest> = {}): AcquireRequest {
  const defaults = { token: randomUUID(), ttlMs: 10_000, waitMs: 0, capacity: 1, fairness: 'fifo' } as const;
  return { ...defaults, ...request, key };
}

/** @throws unless the lock is granted */
export async function hold(
  store: LockStore,
  key: string,
  request: Partial<AcquireRequest> = {},
): Promise<Grant & { readonly key: string; readonly token: string }> {
  const asked = requestFor(key, request);
  const outcome = await store.acquire(asked);
  if (outcome.status === 'busy') throw new Error(`${key} is busy`);
  return { ...outcome, key, token: asked.token };
}

/** A client that only looks. */
export async function looker(connect: string): Promise<{ children(path: string): Promise<string[]>; close(): void }> {
  const client = zookeeper.createClient(connect);
  const connected = new Promise<void>((resolve) => client.once('connected', resolve));
  client.connect();
  await connected;
  const children = (path: string): Promise<string[]> =>
    new Promise((resolve, reject) => {
      client.getChildren(path, (error, names) => {
        if (error) reject(error);
        else resolve(names);
      });
    });
  return { children, close: () => client.close() };
}
