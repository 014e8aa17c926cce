import 'reflect-metadata';
import { ConfigurationError } from '../errors/configuration.error.js';
import type { Guarantee } from './guarantee.js';

/** Something on a method, as it is written: `@Lease()`, that means nothing without a guarantee around the method. */
export interface GuaranteeDemand {
  readonly by: string;
  readonly guarantee: Pick<Guarantee<unknown>, 'name' | 'runtime'>;
  /** Refuses options that name what the runtime does not have. @throws ConfigurationError, which ends the boot */
  verify?(runtime: unknown): void;
}

const DEMANDS = 'lockstep:demanded-guarantees';

/** Lets the boot refuse the method where the guarantee does not stand around it. */
export function demandGuarantee(prototype: object, property: string | symbol, demand: GuaranteeDemand): void {
  Reflect.defineMetadata(DEMANDS, [...demandsOn(prototype, property), demand], prototype, property);
}

/** Those of the method that this very prototype has; one that overrides it makes its own. */
export function demandsOn(prototype: object, property: string | symbol): readonly GuaranteeDemand[] {
  return (Reflect.getOwnMetadata(DEMANDS, prototype, property) as GuaranteeDemand[] | undefined) ?? [];
}

/** @throws ConfigurationError naming what is missing */
export function assertDemands(
  method: string,
  demands: readonly GuaranteeDemand[],
  guarantees: readonly Guarantee<unknown>[],
): void {
  for (const { by, guarantee } of demands) {
    if (guarantees.some(({ name }) => name === guarantee.name)) continue;
    throw new ConfigurationError(
      `${method} has ${by} but no @${guarantee.name}; put @${guarantee.name} on the method.`,
    );
  }
}
