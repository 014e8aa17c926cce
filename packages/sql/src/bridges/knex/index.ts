export { type KnexTransactionLike, knexTransaction } from './knex-transaction.js';
