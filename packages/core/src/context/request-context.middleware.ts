import { Inject, Injectable, type NestMiddleware } from '@nestjs/common';
import { RequestEntry } from '../http/request-entry.js';

/** Lets requests in where the adapter has no hook for it. */
@Injectable()
export class RequestContextMiddleware implements NestMiddleware {
  constructor(@Inject(RequestEntry) private readonly entry: RequestEntry) {}

  use(request: unknown, response: unknown, next: (error?: unknown) => void): void {
    this.entry.enter(request, response, next);
  }
}
