export { type KyselyTransactionLike, kyselyTransaction } from './kysely-transaction.js';
