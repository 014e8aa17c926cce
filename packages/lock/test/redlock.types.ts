import type { DriverProvider } from '@lockstep/core';
import { LockModule, type LockStore } from '@lockstep/lock';
import { redlockStore } from '@lockstep/lock/redlock';

const nodes = [{ url: 'redis://a' }, { url: 'redis://b' }, { url: 'redis://c' }];
const namespace = 'mall';

export const plain: DriverProvider<LockStore<undefined>> = redlockStore({ nodes, namespace });
export const same: DriverProvider<LockStore<undefined>> = redlockStore({ nodes, namespace, fencing: false });
export const fenced: DriverProvider<LockStore<bigint>> = redlockStore({ nodes, namespace, fencing: 'durable-nodes' });

// @ts-expect-error without fencing there is no fence
export const claimed: DriverProvider<LockStore<bigint>> = redlockStore({ nodes, namespace });

// @ts-expect-error fences need durable nodes, and a name that says so
redlockStore({ nodes, namespace, fencing: true });

export const modules = [LockModule.forRoot({ store: plain }), LockModule.forRoot({ store: fenced })];
