import type { SqlTransaction } from '../../sql-transaction.js';
import { type KnexTransactionLike, knexTransaction } from '../knex/index.js';
import { refuse } from '../library-transaction.js';

/** What is needed of an `EntityManager` of MikroORM 6; a type by shape, so that every copy of the library will do. */
export interface EntityManagerLike {
  isInTransaction(): boolean;
  getTransactionContext(): unknown;
}

/**
 * A handle on the transaction that is open in the entity manager's current context: inside of `em.transactional(…)`, or
 * between `em.begin()` and its end. Whoever began it ends it. What was persisted and not flushed is not in it yet.
 *
 * @throws TransactionMisuseError when none is open there, or one of a database other than Postgres
 */
export function mikroOrmTransaction(em: EntityManagerLike): SqlTransaction {
  if (typeof em?.isInTransaction !== 'function' || !em.isInTransaction()) {
    refuse(em, 'an EntityManager inside of em.transactional(…)');
  }
  // Version 6 runs on Knex, and what it calls the context of a transaction is that of Knex.
  return knexTransaction(em.getTransactionContext() as KnexTransactionLike);
}
