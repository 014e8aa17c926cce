import { hash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { IdempotencyPayloadUnreadableError } from '../idempotency.errors.js';
import type { StoredHeaders } from './stored-answer.js';

/** What Express and Fastify have in common. */
export interface HttpRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly params?: unknown;
  readonly query?: unknown;
  /** What the parameters of `@Controller({ host })` stand for. */
  readonly hosts?: unknown;
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

const LONGEST_OPERATION = 200;
/** Of a longer route this much is shown, and a hash of the whole, because another one may begin alike. */
const SHOWN = 150;
/** What a GET may say of the answer that it wants: with another condition it is another request. */
const CONDITIONS = ['if-none-match', 'if-modified-since', 'range'] as const;

/** What tells a route from another one with the same path; empty where nothing does. */
export interface RouteVariant {
  readonly version: string;
  readonly host: string;
}

/**
 * `POST /orders/:id`, `POST /orders/:id version 2` or `POST /orders/:id host api.example.com`: the route as it is
 * registered, so that one operation has one name on every node.
 */
export function operationOf(request: HttpRequest, { version, host }: RouteVariant): string {
  const own = request.route?.path;
  const path = request.routeOptions?.url ?? `${request.baseUrl ?? ''}${typeof own === 'string' ? own : ''}`;
  const route = bounded(`${request.method} ${path}`);
  return `${route}${version && ` version ${version}`}${host && ` host ${host}`}`;
}

function bounded(route: string): string {
  return route.length <= LONGEST_OPERATION ? route : `${route.slice(0, SHOWN)}… ${hash('sha256', route, 'base64url')}`;
}

/**
 * What must be the same when the key is used again. The body is the one that was sent: no pipe has seen it yet.
 *
 * @throws IdempotencyPayloadUnreadableError when there is a body that nobody has read, but for the parts of an upload
 */
export function payloadOf(request: HttpRequest, operation: string): unknown {
  const { params, query, hosts, body, rawBody, headers } = request;
  const sent = body === undefined ? rawBody : body;
  if (sent === undefined && hasBody(headers) && !isUpload(headers)) throw new IdempotencyPayloadUnreadableError();
  const payload = [operation, params ?? null, query ?? null, hosts ?? null, sent ?? null];
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  return isRead ? [...payload, CONDITIONS.map((name) => headers[name] ?? null)] : payload;
}

function hasBody(headers: HttpRequest['headers']): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Read by an interceptor of the route, which comes later. */
function isUpload({ 'content-type': type }: HttpRequest['headers']): boolean {
  return typeof type === 'string' && type.toLowerCase().startsWith('multipart/form-data');
}

/** Those of the named headers that are set; a list stays a list. */
export function listedHeaders(get: (name: string) => unknown, names: readonly string[]): StoredHeaders {
  const headers: Record<string, string | readonly string[]> = {};
  for (const name of names) {
    const value = get(name);
    if (Array.isArray(value)) headers[name] = value.map(String);
    else if (typeof value === 'string' || typeof value === 'number') headers[name] = String(value);
  }
  return headers;
}

/** Node's own response: what Express hands out itself, and what a reply of Fastify is around. */
export function rawResponse(response: object): ServerResponse {
  return 'raw' in response ? (response.raw as ServerResponse) : (response as ServerResponse);
}

/** Runs `fn` with a signal that aborts when the client leaves. */
export async function whileThere<T>(raw: ServerResponse, fn: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const left = new AbortController();
  const leave = (): void => left.abort();
  raw.once('close', leave);
  if (raw.destroyed) leave();
  try {
    return await fn(left.signal);
  } finally {
    raw.off('close', leave);
  }
}
