export type { ZooKeeperLockStoreOptions, ZooKeeperRecipe } from './zookeeper.options.js';
export { ZooKeeperLockStore, zookeeperLockStore } from './zookeeper-lock-store.js';
