import { ConfigurationError } from '@lockstep/core';
import { IdempotencyTokenMissingError } from './token.errors.js';

/** A field of the JSON or form body, as `body.orderToken`, or a header; `header` alone is `Idempotency-Token`. */
export type TokenPlace = `body.${string}` | `header:${string}` | 'header';

export type ResolvedTokenPlace =
  | { readonly in: 'body'; readonly field: string; readonly text: string }
  | { readonly in: 'header'; readonly header: string; readonly text: string };

/** Where a route finds its key. */
export interface TokenSource {
  readonly purpose: string;
  readonly place: ResolvedTokenPlace;
}

interface TokenRequest {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
}

const HEADER = 'Idempotency-Token';
const PLACE = /^(?:body\.([A-Za-z_][A-Za-z0-9_-]{0,63})|header(?::([A-Za-z0-9-]{1,64}))?)$/;

/** @throws ConfigurationError */
export function resolveTokenPlace(option: string, place: TokenPlace): ResolvedTokenPlace {
  const match = typeof place === 'string' ? PLACE.exec(place) : null;
  if (!match) throw ConfigurationError.option(option, place, "'body.<field>', 'header' or 'header:<name>'");
  const [, field, header = HEADER] = match;
  return field === undefined
    ? { in: 'header', header, text: `the header ${header}` }
    : { in: 'body', field, text: `the field ${field} of the body` };
}

/**
 * What stands in a request where its token belongs; the empty text for what is no text.
 *
 * @throws IdempotencyTokenMissingError
 */
export function tokenOf(request: TokenRequest, place: ResolvedTokenPlace): string {
  const found = place.in === 'header' ? request.headers[place.header.toLowerCase()] : own(request.body, place.field);
  if (found === undefined || found === null || found === '') throw new IdempotencyTokenMissingError(place.text);
  // Refused later, in the words of its mode: a refusal here would tell it from others.
  return typeof found === 'string' ? found : '';
}

function own(body: unknown, field: string): unknown {
  if (typeof body !== 'object' || body === null || !Object.hasOwn(body, field)) return undefined;
  return (body as Readonly<Record<string, unknown>>)[field];
}
