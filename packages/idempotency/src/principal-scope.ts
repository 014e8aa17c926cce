import { ConfigurationError, RequestContext } from '@lockstep/core';

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
      'The scope of @Idempotent is the principal, but this request has none. ' +
        'Authenticate before, or set another `scope` of IdempotencyModule.',
    );
  };
}

/** Undefined where nobody knows who is asking. */
export function scopeOfPrincipal(): string | undefined {
  const principal = RequestContext.current()?.principal;
  if (!principal) return undefined;
  const tenant = principal.tenant ?? '';
  return `${tenant.length}:${tenant}${principal.id}`;
}
