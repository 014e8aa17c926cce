import { attachGuarantee, type Guarantee, type GuaranteeDecorator } from '@lockstep/core';
import { resolveTransactionOptions, type TransactionOptions } from './sql.options.js';
import { Sql } from './sql.service.js';

const TRANSACTIONAL: Guarantee<Sql> = {
  name: 'Transactional',
  layer: 'transaction',
  runtime: Sql,
  module: 'SqlModule.forRoot(…)',
};

/**
 * Runs the method in `sql.transaction(…)`: everything it awaits finds the transaction, it commits when the method
 * resolves and rolls back when it rejects. Guarantees as {@link Sql.transaction}.
 *
 * @throws ConfigurationError at class definition when an option is wrong
 */
export function Transactional(options: TransactionOptions = {}): GuaranteeDecorator {
  const resolved = resolveTransactionOptions(options);
  return (target, property, descriptor) =>
    attachGuarantee(target, property, descriptor, TRANSACTIONAL, (sql, call) =>
      sql.transaction(() => call.proceed(), {
        propagation: resolved.propagation,
        begin: resolved.begin,
        ...(resolved.isolation === undefined ? {} : { isolation: resolved.isolation }),
      }),
    );
}
