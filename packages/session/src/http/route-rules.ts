import type { IncomingMessage } from 'node:http';

/** What a route says of its session before it is reached. */
export type RouteRule = 'no-session' | 'anonymous-on-store-down';

/**
 * Tells by method and path what the route of a request says about its session: a request enters before the framework has
 * found its route, and a session that is not wanted shall not be read.
 */
export class RouteRules {
  find(_request: IncomingMessage): RouteRule | undefined {
    return undefined;
  }
}
