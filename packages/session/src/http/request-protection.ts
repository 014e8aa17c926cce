import type { ServerResponse } from 'node:http';
import type { AbstractHttpAdapter } from '@nestjs/core';

type SecurityHook = (request: unknown, response: unknown) => Error | undefined;

interface ProtectedAdapter {
  /** Of Nest 12. */
  registerSecurityHook?(hook: SecurityHook): unknown;
}

/**
 * What `app.enableCsrfProtection()` is going to say of a request. It comes after the session, and a request that it
 * refuses must not be a use of the session, nor cost a look at the store: pages of others send as many as they like.
 */
export class RequestProtection {
  private hook: SecurityHook | undefined;

  /** To be called before the application is configured. */
  watch(adapter: AbstractHttpAdapter): void {
    const watched = adapter as unknown as ProtectedAdapter;
    const register = watched.registerSecurityHook?.bind(adapter);
    if (!register) return;
    watched.registerSecurityHook = (hook) => {
      this.hook = hook;
      return register(hook);
    };
  }

  /** The error that the request is going to get; undefined where it may go on, or nobody protects it. */
  refusalOf(request: unknown, response: ServerResponse): Error | undefined {
    try {
      return this.hook?.(request, response);
    } catch {
      // A predicate of the application threw. It will once more where the error is answered.
      return undefined;
    }
  }
}
