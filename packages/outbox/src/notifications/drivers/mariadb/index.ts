export { mariadbNotificationStore } from './mariadb-notification-store.js';
