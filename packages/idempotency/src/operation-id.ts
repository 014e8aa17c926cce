import { hash } from 'node:crypto';

/** What tells one operation from another. */
export interface OperationKey {
  /** Whose key it is: tenant and principal. Two callers never share a key. */
  readonly scope: string;
  /** What is being done: `POST /orders`. */
  readonly operation: string;
  /** The caller's key. */
  readonly key: string;
}

/**
 * Identity under which an operation is stored: SHA-256, base64url. Each part is preceded by its length, so that no
 * choice of scope and key can collide with another pair; the raw key is neither stored nor logged.
 */
export function operationId({ scope, operation, key }: OperationKey): string {
  const text = `${scope.length}:${scope}${operation.length}:${operation}${key.length}:${key}`;
  return hash('sha256', text, 'base64url');
}
