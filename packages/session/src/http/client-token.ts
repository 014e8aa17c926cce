import type { IncomingMessage } from 'node:http';
import type { KeptSession } from '../keeping/session-keeping.js';
import type { SessionRuntime } from '../session-state.js';
import type { HeadChanges, Presented } from './session-transport.js';

/** What the client of a request holds, and what it has to be told with the answer. */
export class ClientToken {
  /** The one of those it presented that has led to its session, or would have. */
  held: string | undefined;
  /** Whether it is to forget what it has: only a logout says so, for it may hold a newer one by then (H8). */
  isLoggedOut = false;
  private presented: Presented | undefined;

  constructor(
    private readonly runtime: Pick<SessionRuntime, 'transport' | 'options'>,
    private readonly request: IncomingMessage,
  ) {}

  present(presented: Presented): void {
    this.presented = presented;
  }

  /** Whether it has two cookies of the name, of which one must be stale. */
  get isDoubled(): boolean {
    return this.presented?.via === 'cookie' && this.presented.tokens.length > 1;
  }

  headChanges(kept: KeptSession | undefined): HeadChanges {
    const { transport, options } = this.runtime;
    this.presented ??= transport.presented(this.request);
    const isNew = kept !== undefined && kept.token !== this.held;
    const maxAgeMs = options.cookie?.persistent && kept ? kept.record.expiresAt - kept.record.readAt : undefined;
    const change = isNew ? { token: kept.token, maxAgeMs } : undefined;
    const told = change ?? (this.isLoggedOut && !kept ? { token: undefined, maxAgeMs } : undefined);
    return transport.changes(this.request, this.presented.via, told, this.isDoubled);
  }
}
