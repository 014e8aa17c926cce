import type { AbstractHttpAdapter } from '@nestjs/core';
import type { StoredHeaders } from './stored-answer.js';

/** What Express and Fastify have in common. */
export interface HttpRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly params?: unknown;
  readonly query?: unknown;
  readonly body?: unknown;
  readonly baseUrl?: string;
  /** Express. */
  readonly route?: { readonly path?: unknown };
  /** Fastify. */
  readonly routeOptions?: { readonly url?: string };
}

export interface HttpResponse {
  readonly statusCode: number;
}

const LONGEST_OPERATION = 200;
const REPLAYED = 'Idempotent-Replayed';

/** `POST /orders/:id`: the route as it is registered, so that one operation has one name on every node. */
export function operationOf(request: HttpRequest): string {
  const own = request.route?.path;
  const path = request.routeOptions?.url ?? `${request.baseUrl ?? ''}${typeof own === 'string' ? own : ''}`;
  return `${request.method} ${path}`.slice(0, LONGEST_OPERATION);
}

/** What must be the same when the key is used again. The body is the one that was sent: no pipe has seen it yet. */
export function payloadOf(request: HttpRequest): unknown {
  const { params, query, body } = request;
  return [operationOf(request), params ?? null, query ?? null, body ?? null];
}

/** Those of the named headers that are set on a response. */
export function headersOf(adapter: AbstractHttpAdapter, response: unknown, names: readonly string[]): StoredHeaders {
  const headers: Record<string, string | readonly string[]> = {};
  for (const name of names) {
    const value: unknown = adapter.getHeader(response, name);
    if (Array.isArray(value)) headers[name] = value.map(String);
    else if (typeof value === 'string' || typeof value === 'number') headers[name] = String(value);
  }
  return headers;
}

/** Puts a stored answer's status and headers on a response, and says that it is a replay. */
export function prepareReplay(
  adapter: AbstractHttpAdapter,
  response: unknown,
  stored: { readonly status: number; readonly headers: StoredHeaders },
): void {
  adapter.status(response, stored.status);
  for (const [name, value] of Object.entries(stored.headers)) {
    // Both servers take lists, which the signature of Nest's adapter does not know.
    adapter.setHeader(response, name, value as string);
  }
  adapter.setHeader(response, REPLAYED, 'true');
}
