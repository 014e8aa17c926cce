import { ConfigurationError, type GuaranteeLayer, guaranteesOf } from '@lockstep/core';
import { idempotentRouteOf } from '../idempotent.decorator.js';
import { issuingRouteOf } from '../tokens/issue-idempotency-token.decorator.js';

const LAYERS: ReadonlySet<GuaranteeLayer> = new Set(['idempotency', 'transactional-idempotency']);

export type Class = abstract new (...args: never[]) => unknown;

/** A method with a decorator of this package whose promise is kept around a request. */
export interface MarkedMethod {
  readonly name: string;
  /** Those of this package, as they are written. */
  readonly decorators: readonly string[];
  readonly type: Class;
  readonly property: string | symbol;
  readonly handler: object;
}

/** Own and inherited ones, the nearest of each name. */
export function markedMethods(metatype: unknown): MarkedMethod[] {
  if (typeof metatype !== 'function' || typeof metatype.prototype !== 'object') return [];
  const type = metatype as Class;
  const found = new Map<string | symbol, MarkedMethod | undefined>();
  for (
    let at: object | null = type.prototype as object;
    at && at !== Object.prototype;
    at = Object.getPrototypeOf(at)
  ) {
    for (const property of Reflect.ownKeys(at)) {
      const handler: unknown = Object.getOwnPropertyDescriptor(at, property)?.value;
      if (found.has(property) || typeof handler !== 'function') continue;
      const decorators = property === 'constructor' ? [] : decoratorsOn(handler);
      const name = `${type.name}.${String(property)}`;
      found.set(property, decorators.length > 0 ? { name, decorators, type, property, handler } : undefined);
    }
  }
  return [...found.values()].filter((method) => method !== undefined);
}

export function refused({ name, decorators }: Omit<MarkedMethod, 'type'>, reason: string): ConfigurationError {
  return new ConfigurationError(`${name} is decorated with ${decorators.join(' and ')}, but it ${reason}.`);
}

/** None on a method whose key is in its arguments: it has no request to look at. */
function decoratorsOn(handler: object): string[] {
  if (!idempotentRouteOf(handler) && !issuingRouteOf(handler)) return [];
  const names = guaranteesOf(handler).filter(({ layer }) => LAYERS.has(layer));
  const keyed = names.map(({ name }) => `@${name}`);
  return issuingRouteOf(handler) ? [...keyed, '@IssueIdempotencyToken'] : keyed;
}
