export { type DrizzleTransactionLike, drizzleTransaction } from './drizzle-transaction.js';
