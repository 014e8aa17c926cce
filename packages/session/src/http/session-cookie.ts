import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { Incidents } from '@lockstep/core';
import type { ResolvedCookieOptions } from '../session.options.js';

/** The session's cookie as it has to be towards one host. */
export interface CookieForm {
  readonly name: string;
  /** `Domain=…; Path=/; HttpOnly; …`, with the `; ` before it. */
  readonly attributes: string;
  readonly domain: string | undefined;
}

/** Hosts come from outside, and a careless resolver makes a domain of each. */
const MOST_FORMS = 100;
const LOCALHOST = /^(?:localhost|.+\.localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/**
 * Decides name and attributes of the cookie by the host that the request names: `__Host-` for one host, `__Secure-`
 * where subdomains share it, no prefix on plain localhost outside production.
 */
export class SessionCookie {
  private readonly forms = new Map<string, CookieForm>();

  constructor(
    private readonly options: ResolvedCookieOptions,
    private readonly incidents: Incidents,
  ) {}

  formFor(request: IncomingMessage): CookieForm {
    const host = hostOf(request);
    const isPlain =
      !this.options.secure || (this.options.plainLocalhost && LOCALHOST.test(host) && !isEncrypted(request));
    const domain = this.options.domain && this.domainOf(host);
    const slot = `${isPlain ? 'p' : 's'}${domain ?? ''}`;
    const known = this.forms.get(slot);
    if (known) return known;
    const form = this.form(domain, isPlain);
    if (this.forms.size < MOST_FORMS) this.forms.set(slot, form);
    return form;
  }

  /** @param maxAgeMs @default it ends with the browser */
  serialize({ name, attributes }: CookieForm, value: string, maxAgeMs?: number): string {
    const age = maxAgeMs === undefined ? '' : `; Max-Age=${Math.max(Math.floor(maxAgeMs / 1_000), 0)}`;
    return `${name}=${value}${age}${attributes}`;
  }

  private form(domain: string | undefined, isPlain: boolean): CookieForm {
    const { name, sameSite, partitioned } = this.options;
    const prefix = isPlain ? '' : domain === undefined ? '__Host-' : '__Secure-';
    const parts = [
      ...(domain === undefined ? [] : [`Domain=${domain}`]),
      'Path=/',
      'HttpOnly',
      ...(isPlain ? [] : ['Secure']),
      `SameSite=${sameSite}`,
      ...(partitioned && !isPlain ? ['Partitioned'] : []),
    ];
    return { name: prefix + name, attributes: `; ${parts.join('; ')}`, domain };
  }

  /** The host comes from the client: what the resolver makes of it counts only where the host lies below it. */
  private domainOf(host: string): string | undefined {
    const domain = this.options.domain?.(host);
    if (domain === undefined) return undefined;
    const isParent = domain.includes('.') && /^[a-z0-9.-]+$/.test(domain) && `.${host}`.endsWith(`.${domain}`);
    if (isParent) return domain;
    this.incidents.report({
      code: 'SESSION_COOKIE_DOMAIN',
      source: 'session.cookie',
      message: 'cookie.domain returned what is no parent of the host; the cookie is for the host alone',
    });
    return undefined;
  }
}

function hostOf({ headers }: IncomingMessage): string {
  const host = headers.host ?? (headers[':authority'] as string | undefined) ?? '';
  return host.replace(/:\d*$/, '').toLowerCase();
}

function isEncrypted({ socket, headers }: IncomingMessage): boolean {
  return (socket as Partial<TLSSocket> | undefined)?.encrypted === true || headers['x-forwarded-proto'] === 'https';
}
