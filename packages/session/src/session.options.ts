import type { IncomingMessage } from 'node:http';
import { ConfigurationError, type Duration, durationMs, Keyring, type KeyringOptions } from '@lockstep/core';
import type { DeviceMeta } from './session-ref.js';
import type { SessionLimit } from './session-store.js';
import { type ResolvedUpgradeOptions, resolveUpgradeOptions, type UpgradeOptions } from './upgrade/upgrade.options.js';

export interface SessionCookieOptions {
  /**
   * Without prefix, which is added: `__Host-` for a cookie of one host, `__Secure-` for one that subdomains share, none
   * on plain localhost.
   * @default 'sid'
   */
  readonly name?: string;
  /**
   * The parent domain that shares the cookie, by the host of the request (without port); undefined for a cookie of that
   * host alone. Clients name the host, so it has to be a list of your own: `(host) => (host.endsWith('.mall.com') ?
   * 'mall.com' : undefined)`. What is no parent of the host, a top-level domain, or made of any host whatsoever is
   * reported, and the cookie is for that host alone. Every host below the domain can set such a cookie.
   * @default a cookie of one host
   */
  readonly domain?: (host: string) => string | undefined;
  /** None becomes Lax on plain localhost. @default 'lax' */
  readonly sameSite?: 'lax' | 'strict' | 'none';
  /**
   * False sends the cookie over plain HTTP from any host; refused in production. Without it, only localhost is served
   * so, and in production none is.
   * @default true
   */
  readonly secure?: boolean;
  /** The cookie outlives the browser, until the session's `absolute` end. @default false, it ends with the browser */
  readonly persistent?: boolean;
  /** For a page that is embedded in other sites (CHIPS), along with `sameSite: 'none'`. @default false */
  readonly partitioned?: boolean;
}

export interface SessionModuleOptions {
  /** Signs the ids. Each secret at least 32 bytes; the ones that are not current still verify. */
  readonly keys: KeyringOptions;
  readonly cookie?: SessionCookieOptions | false;
  /**
   * A header that brings and takes the id in place of the cookie, for clients without cookies: `X-Auth-Token`. A client
   * that sends it, if only empty, is answered by it, and its cookies are not looked at. A page of another origin sees it
   * only where CORS exposes it. @default none
   */
  readonly header?: string;
  /** Unused for so long, a session ends. From 1 s to 30 days. @default '30m' */
  readonly idle?: Duration;
  /** It ends then, however much it is used. From `idle` to 400 days. @default '12h' */
  readonly absolute?: Duration;
  /** A use is noted at the store at most so often; the idle timeout is that much less exact. At most half of `idle`. @default a tenth of `idle`, at most 1 min */
  readonly touchAfter?: Duration;
  /** The id is replaced when it is so old. At least 10 s. @default never */
  readonly renewEvery?: Duration;
  /** How long a renewed id still serves the requests that are on their way, from the first use of the new one. @default '10s' */
  readonly renewGrace?: Duration;
  /** @default as many as he likes */
  readonly maxPerUser?: number | SessionLimit;
  /** Of one attribute, encoded. @default 8192 */
  readonly maxAttributeBytes?: number;
  /** Of all attributes together. Two requests side by side may exceed it by what each adds. @default 65536 */
  readonly maxBytes?: number;
  /**
   * What an attribute means that cannot be decoded: it alone counts as absent, or the whole session does, which then
   * is decoded at once with each request. Never an error. The store keeps it either way: an instance of another version
   * may be able to read it.
   * @default 'drop-attribute'
   */
  readonly onUndecodable?: 'drop-attribute' | 'drop-session';
  /**
   * What a request with a valid id gets while the store is down: 503 with `Retry-After`, or it is served as a visitor's,
   * whose session cannot be written. Also per route: `@OnSessionStoreDown()`. Its cookie is left alone either way.
   * @default 'unavailable'
   */
  readonly onStoreDown?: 'unavailable' | 'anonymous';
  /** Requests that have no session, such as those for static files. Must not throw. @default none */
  readonly exclude?: (request: IncomingMessage) => boolean;
  /** What is noted about the device; at most 1 024 characters of JSON. @default address and `User-Agent`, 256 characters */
  readonly meta?: (request: IncomingMessage) => DeviceMeta;
  /** Of sessions behind WebSockets: `SessionService.fromUpgrade()`. */
  readonly upgrade?: UpgradeOptions;
}

export interface ResolvedCookieOptions {
  readonly name: string;
  readonly domain: ((host: string) => string | undefined) | undefined;
  readonly sameSite: 'Lax' | 'Strict' | 'None';
  readonly secure: boolean;
  readonly persistent: boolean;
  readonly partitioned: boolean;
  /** Whether plain HTTP to localhost is served with a plain cookie. */
  readonly plainLocalhost: boolean;
}

export interface ResolvedSessionOptions {
  readonly keyring: Keyring;
  readonly cookie: ResolvedCookieOptions | undefined;
  /** In lower case. */
  readonly header: string | undefined;
  readonly idleMs: number;
  readonly absoluteMs: number;
  readonly touchAfterMs: number;
  readonly renewEveryMs: number;
  readonly renewGraceMs: number;
  readonly limit: SessionLimit | undefined;
  readonly maxAttributeBytes: number;
  readonly maxBytes: number;
  readonly onUndecodable: 'drop-attribute' | 'drop-session';
  readonly onStoreDown: 'unavailable' | 'anonymous';
  readonly exclude: ((request: IncomingMessage) => boolean) | undefined;
  readonly meta: ((request: IncomingMessage) => DeviceMeta) | undefined;
  readonly upgrade: ResolvedUpgradeOptions;
}

export const SESSION_OPTIONS = Symbol('@lockstep/session:OPTIONS');

const DAY_MS = 86_400_000;
const MIN_SECRET_BYTES = 32;
const MOST_BYTES = 16 * 1_048_576;
const COOKIE_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
/** Headers whose values have a meaning already, in a request or in its answer. */
const NAMES_OF_OTHERS =
  /^(?:cookie2?|set-cookie2?|(?:proxy-)?auth(?:orization|enticat.*)|host|origin|referer|user-agent|date|vary|age|etag|server|location|connection|upgrade|te|trailer|transfer-encoding|expect|forwarded|x-forwarded-.*|content-.*|cache-control|accept.*|if-.*|sec-.*|access-control-.*)$/i;
const SAME_SITE = { lax: 'Lax', strict: 'Strict', none: 'None' } as const;

const NAMES: Readonly<Record<keyof SessionModuleOptions, true>> = {
  keys: true,
  cookie: true,
  header: true,
  idle: true,
  absolute: true,
  touchAfter: true,
  renewEvery: true,
  renewGrace: true,
  maxPerUser: true,
  maxAttributeBytes: true,
  maxBytes: true,
  onUndecodable: true,
  onStoreDown: true,
  exclude: true,
  meta: true,
  upgrade: true,
};
const COOKIE_NAMES: Readonly<Record<keyof SessionCookieOptions, true>> = {
  name: true,
  domain: true,
  sameSite: true,
  secure: true,
  persistent: true,
  partitioned: true,
};

/** @throws ConfigurationError naming the option and its value */
export function resolveSessionOptions(options: SessionModuleOptions): ResolvedSessionOptions {
  assertKnown('', options, NAMES);
  const idleMs = durationMs(options.idle ?? '30m', 'idle', { minMs: 1_000, maxMs: 30 * DAY_MS });
  const absolute = options.absolute ?? Math.max(12 * 3_600_000, idleMs);
  const defaultTouchMs = Math.min(60_000, Math.ceil(idleMs / 10));
  const renewEveryMs =
    options.renewEvery === undefined
      ? Number.POSITIVE_INFINITY
      : durationMs(options.renewEvery, 'renewEvery', { minMs: 10_000, maxMs: durationMs(absolute, 'absolute') });
  const cookie = options.cookie === false ? undefined : resolveCookie(options.cookie ?? {});
  const header = checkedHeader(options.header);
  if (!cookie && header === undefined) {
    throw new ConfigurationError('Options cookie and header: without either of them no session can be told.');
  }
  return Object.freeze({
    keyring: checkedKeyring(options.keys),
    cookie,
    header,
    idleMs,
    absoluteMs: durationMs(absolute, 'absolute', { minMs: idleMs, maxMs: 400 * DAY_MS }),
    touchAfterMs: durationMs(options.touchAfter ?? defaultTouchMs, 'touchAfter', { minMs: 0, maxMs: idleMs / 2 }),
    renewEveryMs,
    renewGraceMs: durationMs(options.renewGrace ?? '10s', 'renewGrace', { minMs: 0, maxMs: idleMs }),
    limit: checkedLimit(options.maxPerUser),
    maxAttributeBytes: bytes('maxAttributeBytes', options.maxAttributeBytes ?? 8_192),
    maxBytes: bytes('maxBytes', options.maxBytes ?? 65_536),
    onUndecodable: oneOf('onUndecodable', options.onUndecodable ?? 'drop-attribute', [
      'drop-attribute',
      'drop-session',
    ]),
    onStoreDown: oneOf('onStoreDown', options.onStoreDown ?? 'unavailable', ['unavailable', 'anonymous']),
    exclude: checkedFunction('exclude', options.exclude),
    meta: checkedFunction('meta', options.meta),
    upgrade: resolveUpgradeOptions(options.upgrade),
  });
}

function resolveCookie(cookie: SessionCookieOptions): ResolvedCookieOptions {
  assertKnown('cookie.', cookie, COOKIE_NAMES);
  const { name = 'sid', sameSite = 'lax' } = cookie;
  const secure = flag('cookie.secure', cookie.secure, true);
  const partitioned = flag('cookie.partitioned', cookie.partitioned, false);
  const inProduction = process.env.NODE_ENV === 'production';
  if (typeof name !== 'string' || !COOKIE_NAME.test(name) || /^__(?:(?:host-)?http|host|secure)-/i.test(name)) {
    throw ConfigurationError.option('cookie.name', name, 'a name of 1 to 64 characters without a prefix');
  }
  if (!secure && inProduction) {
    throw ConfigurationError.option(
      'cookie.secure',
      secure,
      'true in production: anybody on the way could read the id',
    );
  }
  if (!secure && (sameSite === 'none' || partitioned)) {
    throw ConfigurationError.option('cookie.secure', secure, 'true: browsers refuse such a cookie otherwise');
  }
  return Object.freeze({
    name,
    domain: checkedFunction('cookie.domain', cookie.domain),
    sameSite: SAME_SITE[oneOf('cookie.sameSite', sameSite, ['lax', 'strict', 'none'])],
    secure,
    persistent: flag('cookie.persistent', cookie.persistent, false),
    partitioned,
    plainLocalhost: !inProduction,
  });
}

function checkedKeyring(keys: KeyringOptions | undefined): Keyring {
  // Not with its value, which may be the secret.
  if (!keys || typeof keys !== 'object' || typeof keys.keys !== 'object' || !keys.keys) {
    throw new ConfigurationError("Option 'keys' must be { current: 'a', keys: { a: a secret of 32 bytes or more } }.");
  }
  if (!Object.hasOwn(keys.keys, keys.current)) {
    throw ConfigurationError.option('keys.current', keys.current, 'the id of one of keys.keys');
  }
  for (const [id, secret] of Object.entries(keys.keys ?? {})) {
    if (typeof secret !== 'string' && !(secret instanceof Uint8Array)) {
      throw new ConfigurationError(`Option 'keys.keys.${id}' is ${typeof secret}; expected a string or bytes.`);
    }
    const length = Buffer.byteLength(secret);
    if (length >= MIN_SECRET_BYTES) continue;
    throw new ConfigurationError(
      `Option 'keys.keys.${id}' has ${length} bytes; expected at least ${MIN_SECRET_BYTES}.`,
    );
  }
  return new Keyring(keys);
}

function checkedHeader(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const isName = typeof header === 'string' && COOKIE_NAME.test(header);
  if (isName && !NAMES_OF_OTHERS.test(header)) return header.toLowerCase();
  throw ConfigurationError.option('header', header, 'the name of a header of its own');
}

function checkedLimit(limit: number | SessionLimit | undefined): SessionLimit | undefined {
  if (limit === undefined) return undefined;
  if (typeof limit !== 'number' && (typeof limit !== 'object' || limit === null)) {
    throw ConfigurationError.option('maxPerUser', limit, 'a number, or { sessions, policy }');
  }
  const { sessions, policy } = typeof limit === 'number' ? { sessions: limit, policy: 'reject' as const } : limit;
  if (!Number.isInteger(sessions) || sessions < 1 || sessions > 1_000) {
    throw ConfigurationError.option('maxPerUser', sessions, 'a whole number from 1 to 1000');
  }
  return Object.freeze({ sessions, policy: oneOf('maxPerUser.policy', policy, ['reject', 'evict-oldest']) });
}

/** A name that is misspelt would leave its default in force, and nobody would notice. */
function assertKnown(prefix: string, options: object, names: Readonly<Record<string, true>>): void {
  if (typeof options !== 'object' || options === null) {
    throw new ConfigurationError('SessionModule needs options: at least { keys }.');
  }
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(names, name)) continue;
    const advice =
      name === 'store' ? 'it belongs beside useFactory, not into what the factory returns' : 'there is no such option';
    throw new ConfigurationError(`Option '${prefix}${name}' of SessionModule: ${advice}.`);
  }
}

function bytes(option: string, value: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= MOST_BYTES) return value;
  throw ConfigurationError.option(option, value, `a whole number of bytes from 1 to ${MOST_BYTES}`);
}

function oneOf<T extends string>(option: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw ConfigurationError.option(option, value, `one of ${allowed.map((one) => `'${one}'`).join(', ')}`);
}

function flag(option: string, value: boolean | undefined, otherwise: boolean): boolean {
  if (value === undefined || typeof value === 'boolean') return value ?? otherwise;
  throw ConfigurationError.option(option, value, 'true or false');
}

function checkedFunction<T>(option: string, value: T | undefined): T | undefined {
  if (value === undefined || typeof value === 'function') return value;
  throw ConfigurationError.option(option, value, 'a function');
}
