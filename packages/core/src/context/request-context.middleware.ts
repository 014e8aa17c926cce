import { Injectable, type NestMiddleware } from '@nestjs/common';
import { RequestContext } from './request-context.js';

/** Gives every HTTP request its context before guards run. */
@Injectable()
export class RequestContextMiddleware implements NestMiddleware {
  use(_request: unknown, _response: unknown, next: () => void): void {
    RequestContext.run(new RequestContext(), next);
  }
}
