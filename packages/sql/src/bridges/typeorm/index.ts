export { type EntityManagerLike, type QueryRunnerLike, typeormTransaction } from './typeorm-transaction.js';
