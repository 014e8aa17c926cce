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

/** What an `HttpException` of a handler means: a final answer, a refusal that leaves nothing behind, or neither. */
export function httpVerdict(error: unknown): 'answer' | 'refusal' | undefined {
  if (!(error instanceof HttpException)) return undefined;
  const status = error.getStatus();
  if (status < 400 || status >= 500) return undefined;
  return NOT_KEPT.has(status) ? 'refusal' : 'answer';
}

/** The exception as it was: same response, same status, Nest's own class for that status. */
export function revivedException(status: number, response: unknown): HttpException {
  const body = response as string | Record<string, unknown>;
  return Reflect.construct(HttpException, [body, status], CLASSES.get(status) ?? HttpException) as HttpException;
}
