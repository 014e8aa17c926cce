import { STATUS_CODES } from 'node:http';
import {
  BadRequestException,
  ConflictException,
  ForbiddenException,
  GoneException,
  HttpException,
  ImATeapotException,
  MethodNotAllowedException,
  MisdirectedException,
  NotAcceptableException,
  NotFoundException,
  PayloadTooLargeException,
  PreconditionFailedException,
  UnauthorizedException,
  UnprocessableEntityException,
  UnsupportedMediaTypeException,
} from '@nestjs/common';
import type { AnswerOf, ExecutionEnd } from '../operation.js';

/** "Not now" and "not yet": another try may go otherwise, so the answer is not kept. */
const NOT_KEPT: ReadonlySet<number> = new Set([408, 409, 423, 425, 429]);

/** So that an exception filter for, say, `NotFoundException` also meets the replayed one. */
const CLASSES: ReadonlyMap<number, new (...args: never[]) => HttpException> = new Map(
  [
    BadRequestException,
    UnauthorizedException,
    ForbiddenException,
    NotFoundException,
    MethodNotAllowedException,
    NotAcceptableException,
    ConflictException,
    GoneException,
    PreconditionFailedException,
    PayloadTooLargeException,
    UnsupportedMediaTypeException,
    ImATeapotException,
    MisdirectedException,
    UnprocessableEntityException,
  ].map((type) => [new type().getStatus(), type]),
);

/**
 * What an `HttpException` says of the operation: a final answer, a refusal that leaves nothing behind, or nothing.
 *
 * @param stored makes what a repetition gets
 */
export function answerOfExceptions(stored: (exception: HttpException) => string): AnswerOf {
  const asAnswer = (error: unknown): ExecutionEnd | undefined =>
    error instanceof HttpException ? { to: 'completed', response: stored(error) } : undefined;
  const byRule = (error: unknown): ExecutionEnd | undefined => {
    const status = error instanceof HttpException ? error.getStatus() : 0;
    // Also a redirect that is thrown: it says where the answer is.
    if (status >= 500) return undefined;
    return NOT_KEPT.has(status) ? { to: 'released', notApplied: false } : asAnswer(error);
  };
  return { byRule, asAnswer };
}

/** A status that says "no", as if the answer with it had been thrown. */
export function refusalOf(status: number, answer: unknown): HttpException {
  const text = STATUS_CODES[status] ?? 'refused';
  try {
    return new HttpException((answer ?? text) as string | object, status);
  } catch {
    // It throws when it is looked at; who encodes it reports that.
    return new HttpException(text, status);
  }
}

/** The exception as it was: same response, same status, Nest's own class for that status. */
export function revivedException(status: number, response: unknown): HttpException {
  const body = response as string | Record<string, unknown>;
  return Reflect.construct(HttpException, [body, status], CLASSES.get(status) ?? HttpException) as HttpException;
}
