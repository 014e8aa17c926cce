export { NotificationBench, type NotificationStoreEnds } from './notification-store.bench.js';
export { describeNotificationStoreContract, type NotificationStoreContract } from './notification-store.contract.js';
