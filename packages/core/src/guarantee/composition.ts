import { ConfigurationError } from '../errors/configuration.error.js';
import { GUARANTEE_LAYERS, type Guarantee } from './guarantee.js';

/**
 * Refuses guarantees that stand in an order that protects nothing: idempotency outside lock outside ordering outside
 * transaction outside outbox; idempotency in one transaction stands between ordering and transaction.
 *
 * @param guarantees outermost first
 * @throws ConfigurationError naming the pair and the order to write
 */
export function assertComposition(method: string, guarantees: readonly Guarantee<unknown>[]): void {
  for (const [index, inner] of guarantees.entries()) {
    const outer = guarantees[index - 1];
    if (!outer || GUARANTEE_LAYERS[outer.layer] <= GUARANTEE_LAYERS[inner.layer]) continue;
    throw new ConfigurationError(
      `${method}: @${inner.name} stands inside @${outer.name}, where it protects nothing. ` +
        `Write @${inner.name} above @${outer.name}.`,
    );
  }
}
