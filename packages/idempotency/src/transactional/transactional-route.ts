import { GUARANTEE_LAYERS, guaranteesOf } from '@lockstep/core';
import { StreamableFile } from '@nestjs/common';
import { Observable } from 'rxjs';
import type { IdempotencyStore } from '../idempotency-store.js';
import { type IdempotentRoute, idempotentRouteOf } from '../idempotent.decorator.js';
import { isTransactional } from '../store-abilities.js';

const GENERATORS: readonly unknown[] = [function* () {}, async function* () {}].map((one) =>
  Object.getPrototypeOf(one),
);

/** How a handler gives its answer, as far as it is known before it is called. */
export interface AnswerForm {
  /** As TypeScript has emitted it, if it has. */
  readonly returnType: unknown;
  /** Through `@Res()`. */
  readonly answersItself: boolean;
}

/**
 * Why a route cannot be one transaction with its claim and its answer; undefined where it can, or where its mode is
 * another one.
 */
export function whyNoTransaction(
  handler: object,
  store: IdempotencyStore,
  { returnType, answersItself }: AnswerForm,
): string | undefined {
  const route = idempotentRouteOf(handler);
  if (route?.mode !== 'transactional') return undefined;
  const reason = whyNoTransactions(route, store);
  if (reason) return reason;
  if (answersItself) {
    return "has the mode 'transactional' and answers by @Res() itself, before the commit; use @Res({ passthrough: true })";
  }
  if (isStreamType(returnType) || GENERATORS.includes(Object.getPrototypeOf(handler))) {
    return "has the mode 'transactional' and returns a stream, which would be read after the commit";
  }
  return whyEnclosed(handler);
}

/** The same for whatever it stands on: a transaction needs a database that can, and is up. */
export function whyNoTransactions(
  { mode, onStoreDown }: Pick<IdempotentRoute, 'mode' | 'onStoreDown'>,
  store: IdempotencyStore,
): string | undefined {
  if (mode !== 'transactional') return undefined;
  if (!isTransactional(store)) {
    return "has the mode 'transactional', which the store of IdempotencyModule does not keep; use a store in SQL";
  }
  if (onStoreDown !== 'bypass') return undefined;
  return "has the mode 'transactional' and onStoreDown 'bypass': without the database there is no transaction either";
}

function isStreamType(type: unknown): boolean {
  if (typeof type !== 'function') return false;
  return [StreamableFile, Observable].some((stream) => type === stream || type.prototype instanceof stream);
}

/**
 * The transaction of a route begins before its handler and all that is around it, and ends after; a lock on the handler
 * is inside on whichever side of @Idempotent it stands, and would end before the commit.
 */
function whyEnclosed(handler: object): string | undefined {
  const outside = GUARANTEE_LAYERS['transactional-idempotency'];
  const inner = guaranteesOf(handler).find(({ layer }) => GUARANTEE_LAYERS[layer] < outside);
  if (!inner) return undefined;
  return (
    `has the mode 'transactional', whose transaction on a route encloses the whole handler: @${inner.name} would end ` +
    `before the commit and protect nothing. Put @${inner.name} on a method of a provider, above its own ` +
    '@Idempotent, or lock rows in the transaction'
  );
}
