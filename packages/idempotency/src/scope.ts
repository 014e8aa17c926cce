import { ConfigurationError } from '@lockstep/core';
import type { ExecutionContext } from '@nestjs/common';
import type { IdempotencyScope } from './idempotency.options.js';

const LONGEST_SCOPE = 1_024;

/**
 * Whose keys and tokens those of a request are; a promise only where the application's function gives one.
 *
 * @throws ConfigurationError where that function says nothing that could be a scope
 */
export function requestScope(scope: IdempotencyScope, context: ExecutionContext): string | Promise<string> {
  if (scope === 'global') return 'global';
  const resolved: unknown = scope(context);
  const checked = (text: unknown): string => resolvedScope('scope', text);
  return resolved instanceof Promise ? resolved.then(checked) : checked(resolved);
}

/**
 * The scope that a function gave, as operations have it; a function's word never means the same as `'global'`.
 *
 * @throws ConfigurationError when it is no text: an operation without a scope would be everybody's
 */
export function resolvedScope(option: string, resolved: unknown): string {
  if (typeof resolved === 'string' && resolved !== '' && resolved.length <= LONGEST_SCOPE) return `scope:${resolved}`;
  throw ConfigurationError.option(option, resolved, `a function that returns 1 to ${LONGEST_SCOPE} characters`);
}
