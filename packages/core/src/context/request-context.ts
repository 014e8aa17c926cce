import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import type { HttpExchange } from '../http/request-entry.js';

/** Who is asking. */
export interface Principal {
  readonly id: string;
  readonly tenant?: string;
}

const storage = new AsyncLocalStorage<RequestContext>();

/**
 * What belongs to the request or message at hand and follows it through every `await`: set up for each HTTP request,
 * and again from the headers wherever a message or job is handled.
 */
export class RequestContext {
  /** Set by authentication (a guard, the session); read by scopes and carried by messages. */
  principal: Principal | undefined;
  private ownId: string | undefined;

  constructor(
    id?: string,
    /** The HTTP request; undefined where a message is handled. */
    readonly exchange?: HttpExchange,
  ) {
    this.ownId = id;
  }

  /** A random UUID, unless it was given. */
  get id(): string {
    this.ownId ??= randomUUID();
    return this.ownId;
  }

  static current(): RequestContext | undefined {
    return storage.getStore();
  }

  /** Runs `fn`, and all that it starts, in `context`. */
  static run<T>(context: RequestContext, fn: () => T): T {
    return storage.run(context, fn);
  }
}
