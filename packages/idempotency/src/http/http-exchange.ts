import type { AbstractHttpAdapter } from '@nestjs/core';
import { IdempotencyPayloadUnreadableError } from '../idempotency.errors.js';
import type { StoredHeaders } from './stored-answer.js';

/** What Express and Fastify have in common. */
export interface HttpRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly params?: unknown;
  readonly query?: unknown;
  /** Undefined where no parser has read it. */
  readonly body?: unknown;
  /** The bytes as they came, where Nest's `rawBody` option or a middleware keeps them. */
  readonly rawBody?: unknown;
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

/**
 * `POST /orders/:id` or `POST /orders/:id version 2`: the route as it is registered, so that one operation has one name
 * on every node.
 */
export function operationOf(request: HttpRequest, version: string): string {
  const own = request.route?.path;
  const path = request.routeOptions?.url ?? `${request.baseUrl ?? ''}${typeof own === 'string' ? own : ''}`;
  const route = `${request.method} ${path}`.slice(0, LONGEST_OPERATION);
  return version === '' ? route : `${route} version ${version}`;
}

/**
 * What must be the same when the key is used again. The body is the one that was sent: no pipe has seen it yet.
 *
 * @throws IdempotencyPayloadUnreadableError when there is a body that nobody has read, but for the parts of an upload
 */
export function payloadOf(request: HttpRequest, operation: string): unknown {
  const { params, query, body, rawBody, headers } = request;
  const sent = body === undefined ? rawBody : body;
  if (sent === undefined && hasBody(headers) && !isUpload(headers)) throw new IdempotencyPayloadUnreadableError();
  return [operation, params ?? null, query ?? null, sent ?? null];
}

function hasBody(headers: HttpRequest['headers']): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Read by an interceptor of the route, which comes later. */
function isUpload({ 'content-type': type }: HttpRequest['headers']): boolean {
  return typeof type === 'string' && type.toLowerCase().startsWith('multipart/form-data');
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
