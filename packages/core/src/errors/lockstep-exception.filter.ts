import type { ServerResponse } from 'node:http';
import { inspect } from 'node:util';
import { type ArgumentsHost, Catch, type ExceptionFilter, Inject, Injectable, Logger } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { throwError } from 'rxjs';
import { Incidents } from '../telemetry/incidents.js';
import { LockstepError } from './lockstep-error.js';
import { httpStatusOf, isInternal, problemDetailsOf, remoteErrorOf, retryAfterSeconds } from './problem-details.js';

/**
 * Turns the errors of Lockstep into answers: RFC 9457 problem documents with `Retry-After` over HTTP, an error object
 * with `code`, `kind` and `retryable` over RPC and WebSockets, `extensions` over GraphQL. In every other context the
 * error is thrown on, so that a handler of messages is known to have failed. Every other error passes by.
 */
@Injectable()
@Catch(LockstepError)
export class LockstepExceptionFilter implements ExceptionFilter<LockstepError> {
  private readonly logger = new Logger('Lockstep');

  constructor(
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  catch(error: LockstepError, host: ArgumentsHost): unknown {
    this.tellOperator(error);
    switch (host.getType<string>()) {
      case 'http':
        return this.answerHttp(error, host.switchToHttp().getResponse());
      case 'rpc':
        return throwError(() => remoteErrorOf(error));
      case 'ws':
        return host
          .switchToWs()
          .getClient<{ emit(event: string, data: unknown): void }>()
          .emit('exception', remoteErrorOf(error));
      case 'graphql':
        throw isInternal(error) ? withoutInside(error) : error;
      default:
        throw error;
    }
  }

  private answerHttp(error: LockstepError, response: unknown): void {
    const { httpAdapter } = this.adapterHost;
    const node = nodeResponse(response);
    const raw = node ?? (response as { raw: ServerResponse }).raw;
    if (raw.headersSent || httpAdapter.isHeadersSent(response)) {
      this.breakOff(error, raw);
      return;
    }
    const body = Buffer.from(JSON.stringify(problemDetailsOf(error)));
    const headers = Object.entries(headersOf(error));
    if (node) {
      node.statusCode = httpStatusOf(error);
      for (const [name, value] of headers) node.setHeader(name, value);
      node.end(body);
    } else {
      for (const [name, value] of headers) httpAdapter.setHeader(response, name, value);
      httpAdapter.reply(response, body, httpStatusOf(error));
    }
  }

  /** An answer that ended in good order would look whole to the client, so its connection is cut. */
  private breakOff(error: LockstepError, response: ServerResponse): void {
    // A reply that Fastify was told to leave alone counts as sent before its first header leaves.
    const inTheMiddle = response.headersSent && !response.writableEnded;
    this.incidents.report({
      code: 'ERROR_AFTER_ANSWER',
      source: 'core.filter',
      message: `${error.code} was raised after the answer ${inTheMiddle ? 'had begun; it was cut' : 'was complete'}`,
      cause: error,
    });
    if (inTheMiddle) response.destroy();
  }

  /** What the client cannot mend is for the operator; a busy or refused request is everyday life. */
  private tellOperator(error: LockstepError): void {
    const { code, kind, message, cause, fields } = error;
    if (kind === 'misuse') this.logger.error(message, inspect(error));
    // A client that repeats what is uncertain, or what is down, must not be able to fill the log.
    if (kind === 'unknown' || kind === 'unavailable') {
      this.incidents.report({ code, source: 'core.filter', message, cause: cause ?? error, fields });
    }
  }
}

function headersOf(error: LockstepError): Record<string, string> {
  const retryAfter = retryAfterSeconds(error);
  return {
    'Content-Type': 'application/problem+json',
    'Cache-Control': 'no-store',
    ...(retryAfter === undefined ? {} : { 'Retry-After': String(retryAfter) }),
  };
}

/**
 * Node's own response: what Express hands out, and Fastify to middleware. It is written to directly, because Express
 * would append a charset to the content type, which the media type does not have.
 */
function nodeResponse(response: unknown): ServerResponse | undefined {
  const { setHeader, end } = response as Partial<ServerResponse>;
  return typeof setHeader === 'function' && typeof end === 'function' ? (response as ServerResponse) : undefined;
}

function withoutInside(error: LockstepError): Error {
  const { message, code, kind, retryable } = remoteErrorOf(error);
  return Object.assign(new Error(message), { extensions: { code, kind, retryable } });
}
