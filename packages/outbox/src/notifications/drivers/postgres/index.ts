export { postgresNotificationStore } from './postgres-notification-store.js';
