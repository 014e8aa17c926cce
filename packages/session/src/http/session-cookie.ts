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
/** A host that nobody serves: a resolver that makes a domain of it makes one of whatever a client sends. */
const FOREIGN_HOST = 'www.lockstep-probe.invalid';
/** Labels of letters, digits and hyphens, two at least, the last one no number as in an address. */
const DOMAIN = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?!\d+$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Decides name and attributes of the cookie by the host that the request names: `__Host-` for one host, `__Secure-`
 * where subdomains share it, no prefix on plain localhost outside production.
 */
export class SessionCookie {
  private readonly forms = new Map<string, CookieForm>();
  private readonly echoesHosts: boolean;

  constructor(
    private readonly options: ResolvedCookieOptions,
    private readonly incidents: Incidents,
  ) {
    this.echoesHosts = echoesHosts(options.domain);
  }

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
    // An age of 0 would delete what is set here.
    const age = maxAgeMs === undefined ? '' : `; Max-Age=${Math.max(Math.ceil(maxAgeMs / 1_000), 1)}`;
    return `${name}=${value}${age}${attributes}`;
  }

  /** The line by which the client forgets the cookie. */
  expiry({ name, attributes }: CookieForm): string {
    return `${name}=; Max-Age=0${attributes}`;
  }

  private form(domain: string | undefined, isPlain: boolean): CookieForm {
    const { name, sameSite, partitioned } = this.options;
    const prefix = isPlain ? '' : domain === undefined ? '__Host-' : '__Secure-';
    const parts = [
      ...(domain === undefined ? [] : [`Domain=${domain}`]),
      'Path=/',
      'HttpOnly',
      ...(isPlain ? [] : ['Secure']),
      // Browsers take None only along with Secure.
      `SameSite=${isPlain && sameSite === 'None' ? 'Lax' : sameSite}`,
      ...(partitioned && !isPlain ? ['Partitioned'] : []),
    ];
    return { name: prefix + name, attributes: `; ${parts.join('; ')}`, domain };
  }

  /** The host comes from the client: what the resolver makes of it counts only where the host lies below it. */
  private domainOf(host: string): string | undefined {
    const { domain: resolve } = this.options;
    if (!resolve) return undefined;
    let domain: unknown;
    try {
      domain = resolve(host);
    } catch (cause) {
      return this.hostOnly('cookie.domain threw', cause);
    }
    if (domain === undefined) return undefined;
    if (typeof domain !== 'string' || !isParentOf(domain, host)) {
      return this.hostOnly('cookie.domain returned what is no parent domain of the host');
    }
    if (this.echoesHosts) return this.hostOnly('cookie.domain makes a domain of any host; it needs a list of its own');
    return domain;
  }

  private hostOnly(what: string, cause?: unknown): undefined {
    this.incidents.report({
      code: 'SESSION_COOKIE_DOMAIN',
      source: 'session.cookie',
      message: `${what}; the cookie is for the host alone`,
      cause,
    });
    return undefined;
  }
}

function echoesHosts(resolve: ResolvedCookieOptions['domain']): boolean {
  try {
    const domain: unknown = resolve?.(FOREIGN_HOST);
    return typeof domain === 'string' && isParentOf(domain, FOREIGN_HOST);
  } catch {
    // It makes no domain of a host that it does not know, which is all that is asked here.
    return false;
  }
}

function isParentOf(domain: string, host: string): boolean {
  return DOMAIN.test(domain) && `.${host}`.endsWith(`.${domain}`);
}

function hostOf({ headers }: IncomingMessage): string {
  const host = (headers[':authority'] as string | undefined) ?? headers.host ?? '';
  return host.replace(/:\d*$/, '').toLowerCase();
}

/** Anybody may claim it, and gets the stricter cookie for it. */
function isEncrypted({ socket, headers }: IncomingMessage): boolean {
  return (
    (socket as Partial<TLSSocket> | undefined)?.encrypted === true ||
    /^https\b/i.test(String(headers['x-forwarded-proto']))
  );
}
