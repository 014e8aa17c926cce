import { ConfigurationError, type Principal, RequestContext } from '@lockstep/core';

/**
 * Scope by the principal that authentication put into the {@link RequestContext}: tenant and id.
 *
 * @throws ConfigurationError at a request of which nobody knows who sent it
 */
export function principalScope(): () => string {
  return () => {
    const scope = scopeOfPrincipal();
    if (scope !== undefined) return scope;
    throw new ConfigurationError(
      'The scope of @Idempotent is the principal, but this request has none with an id. ' +
        'Authenticate before, or set another `scope` of IdempotencyModule.',
    );
  };
}

/** Undefined where nobody knows who is asking: no principal, or one whose id or tenant is no text. */
export function scopeOfPrincipal(): string | undefined {
  const { id, tenant = '' }: Partial<Record<keyof Principal, unknown>> = RequestContext.current()?.principal ?? {};
  // A claim that was missing: everybody who has none would share their keys.
  if (typeof id !== 'string' || id === '' || typeof tenant !== 'string') return undefined;
  return `${tenant.length}:${tenant}${id}`;
}
