import type { IncomingMessage } from 'node:http';
import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';

export interface UpgradeOptions {
  /**
   * Pages that may open a WebSocket with the session of their visitor: `['https://www.mall.com']`, or a function of the
   * `Origin` header. Browsers send cookies along with upgrades from any page, and CSRF protection does not see them.
   * Clients that send no `Origin`, which are no browsers, are let in.
   * @default pages of the host that the request names
   */
  readonly allowedOrigins?: readonly string[] | ((origin: string, request: IncomingMessage) => boolean);
  /** Each open socket's session is looked up again so often: whether it is still there. From 100 ms to 1 h. @default '30s' */
  readonly recheckEvery?: Duration;
}

export interface ResolvedUpgradeOptions {
  readonly mayOpen: (origin: string, request: IncomingMessage) => boolean;
  readonly recheckEveryMs: number;
}

/** @throws ConfigurationError naming the option and its value */
export function resolveUpgradeOptions({ allowedOrigins, recheckEvery }: UpgradeOptions = {}): ResolvedUpgradeOptions {
  return Object.freeze({
    mayOpen: resolveOrigins(allowedOrigins),
    recheckEveryMs: durationMs(recheckEvery ?? '30s', 'upgrade.recheckEvery', { minMs: 100, maxMs: 3_600_000 }),
  });
}

function resolveOrigins(allowed: UpgradeOptions['allowedOrigins']): ResolvedUpgradeOptions['mayOpen'] {
  if (allowed === undefined) return isSameHost;
  if (typeof allowed === 'function') return allowed;
  if (!Array.isArray(allowed))
    throw ConfigurationError.option('upgrade.allowedOrigins', allowed, 'a list or a function');
  const origins = new Set(allowed.map(checkedOrigin));
  return (origin) => origins.has(origin);
}

/** As browsers write it: no path, no default port. Any other would never match, which nobody would notice in time. */
function checkedOrigin(origin: string): string {
  if (typeof origin === 'string' && URL.canParse(origin) && new URL(origin).origin === origin) return origin;
  throw ConfigurationError.option('upgrade.allowedOrigins', origin, "origins such as 'https://www.mall.com'");
}

function isSameHost(origin: string, { headers }: IncomingMessage): boolean {
  if (!URL.canParse(origin)) return false;
  const { protocol, host } = new URL(origin);
  const own = `${protocol}//${headers.host ?? ''}`;
  return URL.canParse(own) && host !== '' && new URL(own).host === host;
}
