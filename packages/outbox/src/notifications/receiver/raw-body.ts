import type { IncomingHttpHeaders } from 'node:http';
import { ConfigurationError } from '@lockstep/core';

interface RawRequest {
  readonly headers: IncomingHttpHeaders;
  readonly rawBody?: unknown;
}

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\b/i;

/**
 * The bytes as they were sent: what is parsed and written again is signed by nobody. Undefined for a body of a kind that
 * webhooks do not have, whose bytes Nest does not keep.
 *
 * @throws ConfigurationError when the application does not keep them
 */
export function rawBodyOf({ headers, rawBody }: RawRequest): Uint8Array | undefined {
  if (rawBody instanceof Uint8Array) return rawBody;
  const isEmpty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
  if (isEmpty) return new Uint8Array();
  if (!JSON_TYPE.test(headers['content-type'] ?? '')) return undefined;
  throw new ConfigurationError(
    '@WebhookReceiver needs the bytes of the request to verify its signature: create the application with ' +
      '`NestFactory.create(AppModule, { rawBody: true })`, for Fastify too, and let no other parser read the body first.',
  );
}
