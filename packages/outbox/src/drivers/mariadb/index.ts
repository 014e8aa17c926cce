export { MariaDbOutboxStore, mariadbOutboxStore } from './mariadb-outbox-store.js';
