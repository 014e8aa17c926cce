import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { OperationResultUnavailableError } from '../idempotency.errors.js';
import { rawResponse } from './http-exchange.js';
import { revivedException } from './http-failure.js';
import type { FastifyReply } from './reply-capture.js';
import { bodyValue, decodeAnswer, type StoredAnswer } from './stored-answer.js';

const REPLAYED = 'Idempotent-Replayed';

/**
 * Repeats a stored answer: what it returns is for Nest to send. Where the handler answers by itself Nest sends nothing,
 * and it is sent here.
 *
 * @throws OperationResultUnavailableError where the answer was not stored
 * @throws HttpException where the handler threw one
 */
export function replayAnswer(
  adapter: AbstractHttpAdapter,
  response: object,
  text: string,
  answersItself: boolean,
): unknown {
  const answer = decodeAnswer(text);
  const { status, body } = answer;
  // Also what was stored for something else than a request: an operator's word may be a result.
  if (!body || body.kind === 'unavailable') throw new OperationResultUnavailableError();
  const raw = rawResponse(response);
  if (answersItself && body.kind === 'raw') return writeAnswer(raw, response, answer);
  adapter.status(response, status);
  setHeaders(raw, response, answer);
  if (body.kind === 'error') throw revivedException(status, body.value);
  if (!answersItself) return bodyValue(answer);
  const sendsStream = body.kind === 'stream' && raw !== response;
  if (sendsStream) (response as FastifyReply).send(payloadOf(answer, body.value));
  else adapter.reply(response, bodyValue(answer), status);
  return undefined;
}

/** As it was written, past Nest and past Fastify. */
function writeAnswer(raw: ServerResponse, response: object, { status, headers, body }: StoredAnswer): void {
  if (raw !== response) (response as FastifyReply).hijack();
  raw.statusCode = status;
  setHeaders(raw, raw, { headers });
  raw.end(Buffer.from('value' in body ? String(body.value) : '', 'base64'));
}

/** Express's own setter would add a charset, also where the first answer had none. */
function setHeaders(raw: ServerResponse, response: object, { headers }: Pick<StoredAnswer, 'headers'>): void {
  const set = (name: string, value: string | readonly string[]): unknown =>
    raw === response ? raw.setHeader(name, value) : (response as FastifyReply).header(name, value);
  for (const [name, value] of Object.entries(headers)) set(name, value);
  set(REPLAYED, 'true');
}

/** Bytes would be given a type and a length where they have none; a stream is not. */
function payloadOf({ headers }: StoredAnswer, base64: string): Buffer | Readable {
  const bytes = Buffer.from(base64, 'base64');
  const isWhole = headers['content-type'] !== undefined && bytes.byteLength > 0;
  return isWhole ? bytes : Readable.from([bytes], { objectMode: false });
}
