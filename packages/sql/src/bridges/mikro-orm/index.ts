export { type EntityManagerLike, mikroOrmTransaction } from './mikro-orm-transaction.js';
export { mikroOrmTransactionBridge } from './mikro-orm-transaction-bridge.js';
