import type { IncomingMessage, ServerResponse } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { AbstractHttpAdapter, HttpAdapterHost } from '@nestjs/core';
import { RequestContext } from '../context/request-context.js';

/** A request and its answer as Node has them, whatever framework is around. */
export interface HttpExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/**
 * Sees a request before everything else: middleware, body parsers, guards, also where no route is found. Runs in its
 * context. A promise is waited for; an error of it is answered by the exception filters. `request` is the one that the
 * framework gives to handlers.
 */
export type EntryHook = (
  exchange: HttpExchange,
  context: RequestContext,
  request: unknown,
) => Promise<void> | undefined;

type Done = (error?: unknown) => void;
type AdapterHook = (request: unknown, response: unknown, done: Done) => unknown;

interface HookedAdapter {
  onRequestHook?: AdapterHook | undefined;
  setOnRequestHook?(hook: AdapterHook): void;
}

/** A request on its way through the hooks. */
interface Entering {
  readonly exchange: HttpExchange;
  readonly context: RequestContext;
  readonly request: unknown;
  readonly next: Done;
}

/**
 * Where HTTP requests enter: each gets its {@link RequestContext}, then the hooks run in the order of their coming.
 *
 * ```
 * adapter with a request hook (Express, Fastify) --> there, before any middleware
 * any other adapter                              --> in a middleware of Nest
 * ```
 * The adapter has room for one hook; one that is set by others runs inside, after those here.
 */
@Injectable()
export class RequestEntry {
  private readonly hooks: EntryHook[] = [];
  private isHooked = false;

  constructor(@Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost) {
    // An application made by TestingModule gets its adapter after its modules.
    if (adapterHost.httpAdapter) this.hookInto(adapterHost.httpAdapter);
    else adapterHost.init$.subscribe(() => this.hookInto(adapterHost.httpAdapter));
  }

  /** Whether requests enter by the adapter, and no middleware is needed. */
  get isInstalled(): boolean {
    return this.isHooked || !this.adapterHost.httpAdapter;
  }

  add(hook: EntryHook): void {
    this.hooks.push(hook);
  }

  /** Lets a request in; `next` runs in its context, with the error of a hook if one failed. */
  enter(request: unknown, response: unknown, next: Done): void {
    const exchange = { request: rawRequest(request), response: rawResponse(response) };
    const context = new RequestContext(undefined, exchange);
    const entering = { exchange, context, request, next };
    RequestContext.run(context, () => this.runHooks(0, entering));
  }

  private runHooks(from: number, entering: Entering): void {
    const { exchange, context, request, next } = entering;
    // Without a reason the request would go on as if the hook had let it in.
    const fail = (error: unknown): void => next(error ?? new Error('A hook of the request failed without a reason'));
    for (let index = from; index < this.hooks.length; index += 1) {
      let waiting: Promise<void> | undefined;
      try {
        waiting = this.hooks[index]?.(exchange, context, request);
      } catch (error) {
        fail(error);
        return;
      }
      if (waiting) {
        waiting.then(() => this.runHooks(index + 1, entering), fail);
        return;
      }
    }
    next();
  }

  private hookInto(adapter: HookedAdapter | undefined | null): void {
    if (!adapter?.setOnRequestHook || this.isHooked) return;
    // What adapters inherit takes a hook and never calls it.
    if (adapter.setOnRequestHook === AbstractHttpAdapter.prototype.setOnRequestHook) return;
    this.isHooked = true;
    let inner = adapter.onRequestHook;
    adapter.setOnRequestHook((request, response, done) => {
      const hook = inner;
      this.enter(request, response, hook ? inside(() => hook.call(adapter, request, response, done), done) : done);
    });
    adapter.setOnRequestHook = (other) => {
      inner = other;
    };
  }
}

/** As the adapter itself treats a hook: what it throws, or rejects with, is the request's error. */
function inside(hook: () => unknown, done: Done): Done {
  return (error) => {
    if (error !== undefined) return done(error);
    try {
      const result = hook();
      if (result instanceof Promise) result.catch(done);
    } catch (thrown) {
      done(thrown);
    }
  };
}

function rawRequest(request: unknown): IncomingMessage {
  return ((request as { raw?: IncomingMessage }).raw ?? request) as IncomingMessage;
}

function rawResponse(response: unknown): ServerResponse {
  return ((response as { raw?: ServerResponse }).raw ?? response) as ServerResponse;
}
