import { ConfigurationError } from '@lockstep/core';
import type { ExecutionContext } from '@nestjs/common';
import type { IdempotencyScope } from '../idempotency.options.js';

const LONGEST_SCOPE = 1_024;

/**
 * Whose keys and tokens those of a request are; a promise only where the application's function gives one.
 *
 * @throws ConfigurationError where that function says nothing that could be a scope
 */
export function requestScope(scope: IdempotencyScope, context: ExecutionContext): string | Promise<string> {
  // A resolver's word never means the same as no scope at all.
  if (scope === 'global') return 'global';
  const resolved: unknown = scope(context);
  return resolved instanceof Promise ? resolved.then(checkedScope) : checkedScope(resolved);
}

function checkedScope(resolved: unknown): string {
  if (typeof resolved === 'string' && resolved !== '' && resolved.length <= LONGEST_SCOPE) return `scope:${resolved}`;
  throw ConfigurationError.option('scope', resolved, `a function that returns 1 to ${LONGEST_SCOPE} characters`);
}
