export type { RedlockNodeOptions, RedlockStoreOptions } from './redlock-options.js';
export { RedlockStore, redlockStore } from './redlock-store.js';
