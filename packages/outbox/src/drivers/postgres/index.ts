export { PostgresOutboxStore, postgresOutboxStore } from './postgres-outbox-store.js';
export { postgresRelaySignal } from './postgres-relay-signal.js';
