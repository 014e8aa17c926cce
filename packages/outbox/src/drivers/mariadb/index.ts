export { MariaDbOutboxStore, mariadbOutboxStore } from './mariadb-outbox-store.js';
export { MariaDbPreparedMessageStore } from './mariadb-prepared-message-store.js';
