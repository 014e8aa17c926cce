import type { DriverProvider } from '@lockstep/core';
import type { TransactionBridge } from '../../transaction-bridge.js';
import { type EntityManagerLike, mikroOrmTransaction } from './mikro-orm-transaction.js';

type Token = NonNullable<DriverProvider<TransactionBridge>['inject']>[number];

/**
 * Finds the transaction that MikroORM has open in the running code:
 * `SqlModule.forRoot({ driver, bridge: mikroOrmTransactionBridge(EntityManager) })`. `MikroOrmModule.forRoot` is global,
 * so that its entity manager can be injected; inside of `em.transactional(…)` and `@Transactional()` it knows its context.
 *
 * @param entityManager the token of the entity manager
 */
export function mikroOrmTransactionBridge(entityManager: Token): DriverProvider<TransactionBridge> {
  return {
    inject: [entityManager],
    useFactory: (em: EntityManagerLike) => ({
      current: () => (em.isInTransaction() ? mikroOrmTransaction(em) : undefined),
    }),
  };
}
