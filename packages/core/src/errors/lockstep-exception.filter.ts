import { type ArgumentsHost, Catch, type ExceptionFilter, Inject, Injectable, Logger } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { throwError } from 'rxjs';
import { LockstepError } from './lockstep-error.js';
import { httpStatusOf, problemDetailsOf, retryAfterSeconds } from './problem-details.js';

/**
 * Turns the errors of Lockstep into answers: RFC 9457 problem documents with `Retry-After` over HTTP, an error object
 * with `code`, `kind` and `retryable` over RPC, `extensions` over GraphQL. Every other error passes by.
 */
@Injectable()
@Catch(LockstepError)
export class LockstepExceptionFilter implements ExceptionFilter<LockstepError> {
  private readonly logger = new Logger('Lockstep');

  constructor(@Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost) {}

  catch(error: LockstepError, host: ArgumentsHost): unknown {
    this.log(error);
    switch (host.getType<string>()) {
      case 'http':
        return this.answerHttp(error, host.switchToHttp().getResponse());
      case 'rpc':
        return throwError(() => ({ status: 'error', message: error.message, ...error.extensions }));
      default:
        return error;
    }
  }

  private answerHttp(error: LockstepError, response: unknown): void {
    const { httpAdapter } = this.adapterHost;
    if (httpAdapter.isHeadersSent(response)) {
      httpAdapter.end(response);
      return;
    }
    const retryAfter = retryAfterSeconds(error);
    if (retryAfter !== undefined) httpAdapter.setHeader(response, 'Retry-After', String(retryAfter));
    httpAdapter.setHeader(response, 'Cache-Control', 'no-store');
    httpAdapter.setHeader(response, 'Content-Type', 'application/problem+json; charset=utf-8');
    // A string, because Express and Fastify each have their own idea of the content type of an object.
    httpAdapter.reply(response, JSON.stringify(problemDetailsOf(error)), httpStatusOf(error));
  }

  /** What the client cannot mend is for the operator; a busy or refused request is everyday life. */
  private log(error: LockstepError): void {
    if (error.kind === 'unknown' || error.kind === 'misuse') this.logger.error(error.message, error.stack);
  }
}
