import { ConfigurationError, isLockstepError, StoreUnavailableError } from '@lockstep/core';
import type { RedlockNode } from './redlock-node.js';

/** Why one node did not take part, under its name. */
class NodeFailure extends Error {
  constructor(node: RedlockNode, cause: unknown) {
    super(`${node.name}: ${reasonOf(cause)}`, { cause });
    this.name = 'NodeFailure';
  }
}

/**
 * The error of an operation that reached no majority. Its `cause` is an `AggregateError` with one error for each node
 * that failed. `unknown` where one of them may have executed it.
 *
 * @returns the `ConfigurationError` of a node, where there is one: that does not heal by itself
 */
export function noMajority(
  operation: string,
  nodes: readonly RedlockNode[],
  errors: readonly unknown[],
): ConfigurationError | StoreUnavailableError {
  const failures: Error[] = [];
  let isUnknown = false;
  for (const [index, node] of nodes.entries()) {
    const error = errors[index];
    if (error === undefined) continue;
    if (error instanceof ConfigurationError) return error;
    failures.push(new NodeFailure(node, error));
    isUnknown ||= isOutcomeUnknown(error);
  }
  const reached = nodes.length - failures.length;
  return new StoreUnavailableError({
    store: 'redlock',
    operation,
    outcome: isUnknown ? 'unknown' : 'not-applied',
    cause: new AggregateError(failures, failures.map(({ message }) => message).join('; ') || 'no majority'),
    fields: { nodes: nodes.length, reached },
  });
}

/** Whether a node may have executed what this error came back for, or may still do so. */
export function isOutcomeUnknown(error: unknown): boolean {
  if (error instanceof StoreUnavailableError) return error.outcome === 'unknown';
  return isLockstepError(error) ? error.kind === 'unknown' : true;
}

/** The innermost reason: the message of a store's error is made for clients and does not tell. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : reasonOf(error.cause);
}
