import type { IncomingMessage } from 'node:http';
import type { ResolvedSessionOptions } from '../session.options.js';
import { cookieValues } from './cookie-values.js';
import type { SessionCookie } from './session-cookie.js';

/** What a client presented. */
export interface Presented {
  readonly via: 'cookie' | 'header';
  /** As they came, unproven. */
  readonly tokens: readonly string[];
}

/** What the client must be told. */
export interface TokenChange {
  /** Undefined: forget what you have. */
  readonly token: string | undefined;
  readonly maxAgeMs: number | undefined;
}

/** Set-Cookie lines and other headers that go with an answer. */
export interface HeadChanges {
  readonly cookies: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Brings the token from the client and to it: by cookie, or by header for clients without cookies; never one by the
 * other, so that no script can ask for what a browser keeps from it.
 */
export class SessionTransport {
  constructor(
    private readonly cookie: SessionCookie | undefined,
    private readonly options: Pick<ResolvedSessionOptions, 'header' | 'cookie'>,
  ) {}

  /** A client that sends the header, even an empty one, wants the header. */
  presented(request: IncomingMessage): Presented {
    const { header } = this.options;
    const value = header === undefined ? undefined : request.headers[header];
    if (typeof value === 'string') return { via: 'header', tokens: value === '' ? [] : [value] };
    const cookies = request.headers.cookie;
    if (cookies === undefined || !this.cookie) return { via: this.cookie ? 'cookie' : 'header', tokens: [] };
    return { via: 'cookie', tokens: cookieValues(cookies, this.cookie.formFor(request).name) };
  }

  /** @param isDoubled whether the client has two cookies of the name, of which one must be a stale one of the host */
  changes(
    request: IncomingMessage,
    via: Presented['via'],
    change: TokenChange | undefined,
    isDoubled: boolean,
  ): HeadChanges {
    const { header } = this.options;
    if (via === 'header' || !this.cookie) {
      return { cookies: [], headers: change && header !== undefined ? { [header]: change.token ?? '' } : {} };
    }
    const form = this.cookie.formFor(request);
    const cookies: string[] = [];
    if (change) {
      const { token, maxAgeMs } = change;
      cookies.push(token === undefined ? this.cookie.expiry(form) : this.cookie.serialize(form, token, maxAgeMs));
    }
    // Cookies are only ever set for the domain here, so this one cannot be the newer.
    if (isDoubled && form.domain !== undefined) {
      cookies.push(this.cookie.expiry({ ...form, attributes: withoutDomain(form.attributes) }));
    }
    return { cookies, headers: {} };
  }
}

function withoutDomain(attributes: string): string {
  return attributes.replace(/; Domain=[^;]*/, '');
}
