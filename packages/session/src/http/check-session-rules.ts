import { ConfigurationError } from '@lockstep/core';
import type { Type } from '@nestjs/common';
import { isSessionParam } from '../decorators/session-params.decorator.js';
import { isReadonly, isWithoutSession, requirementOf } from '../decorators/session-rules.js';

/** Metadata of Nest's router, the same in 11 and 12. */
const ROUTE_ARGS = '__routeArguments__';
const CUSTOM_ARGS = '__customRouteArgs__';
/** `@Session()` of Nest; the number before the colon is the kind of parameter. */
const NATIVE_SESSION = /^7:/;

/**
 * Refuses a method that says it has no session and asks for one all the same.
 *
 * @throws ConfigurationError naming the method and both
 */
export function checkSessionRules(type: Type, methods: readonly string[]): void {
  for (const property of methods) {
    const handler = (type.prototype as Record<string, unknown>)[property];
    if (typeof handler !== 'function' || !isWithoutSession(type, handler)) continue;
    const other = contradiction(type, handler, property);
    if (other === undefined) continue;
    throw new ConfigurationError(
      `${type.name}.${property} is marked with @NoSession() and with ${other}; it can have one of them.`,
    );
  }
}

function contradiction(type: Type, handler: object, property: string): string | undefined {
  if (requirementOf(type, handler)) return '@RequireSession()';
  if (isReadonly(type, handler)) return '@ReadonlySession()';
  const args = (Reflect.getMetadata(ROUTE_ARGS, type, property) ?? {}) as Record<string, { factory?: unknown }>;
  for (const [key, { factory }] of Object.entries(args)) {
    if (NATIVE_SESSION.test(key)) return '@Session()';
    if (key.includes(CUSTOM_ARGS) && isSessionParam(factory)) return 'a parameter that takes from the session';
  }
  return undefined;
}
