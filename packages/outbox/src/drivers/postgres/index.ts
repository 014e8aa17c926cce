export { PostgresOutboxStore, postgresOutboxStore } from './postgres-outbox-store.js';
