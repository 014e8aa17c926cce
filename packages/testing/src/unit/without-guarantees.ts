// Registered by name, because this package imports no other of the house.
const PASS_THROUGH = Symbol.for('lockstep:pass-through');

/**
 * Marks an instance for a unit test, so that its decorated methods run as if they were not decorated: no lock is taken,
 * no transaction is begun, nothing is remembered. Works on a bare `new`, and as `useValue` of a testing module.
 * Returns the instance itself.
 */
export function withoutGuarantees<T extends object>(instance: T): T {
  Object.defineProperty(instance, PASS_THROUGH, { value: true, configurable: true });
  return instance;
}
