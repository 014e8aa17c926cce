import type { IncomingMessage } from 'node:http';
import { Injectable, type NestMiddleware } from '@nestjs/common';
import { RequestContext } from './request-context.js';

const contexts = new WeakMap<object, RequestContext>();

/** Gives every HTTP request its context before guards run. */
@Injectable()
export class RequestContextMiddleware implements NestMiddleware {
  use(request: IncomingMessage, _response: unknown, next: () => void): void {
    const context = contexts.get(request) ?? new RequestContext();
    contexts.set(request, context);
    RequestContext.run(context, next);
  }
}

/** The part of a Fastify instance that is needed; Fastify itself is the application's. */
interface FastifyLike {
  addHook(name: 'preValidation', hook: (request: { raw: object }, reply: unknown, done: () => void) => void): unknown;
}

/**
 * Fastify reads the body after the middleware, and goes on from the socket's event, where the context of the middleware
 * is no longer the current one.
 */
export function resumeContextAfterBody(fastify: FastifyLike): void {
  fastify.addHook('preValidation', (request, _reply, done) => {
    const context = contexts.get(request.raw);
    if (context) RequestContext.run(context, done);
    else done();
  });
}
