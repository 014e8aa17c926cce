import { randomUUID } from 'node:crypto';
import { ConfigurationError, type DerivedKeys, type Duration, durationMs, type Principal } from '@lockstep/core';
import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import type * as Jose from 'jose';
import { findLogin, isKeepingDriver, type KeepingDriver } from '../keeping/session-keeping.js';
import { SessionMisuseError, SessionRequiredError } from '../session.errors.js';
import { SessionService } from '../session.service.js';
import type { SessionRef } from '../session-ref.js';
import { SESSION_STORE, type SessionKey, type SessionStore } from '../session-store.js';
import { userGroup } from '../user/user-group.js';
import { SessionJwtError } from './session-jwt.error.js';

export interface IssueJwtOptions {
  /** How long it is good, at most until the session ends. From 1 s to 1 h. @default '5m' */
  readonly ttl?: Duration;
  /** Who shall accept it; `verify` asks for the same. */
  readonly audience: string;
  /** More that it says, readable by everybody who holds it. None of the names that are used here. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

export interface VerifyJwtOptions {
  readonly audience: string;
  /**
   * Whether the session is looked up, at the price of one round trip: a token of one that was logged out, revoked,
   * rotated or has run out is refused at once.
   * @default false, it is good until its time is over
   */
  readonly live?: boolean;
}

export interface VerifiedJwt {
  readonly principal: Principal;
  /** Of the session; see {@link SessionRef.handle}. */
  readonly handle: string;
  /** Names this token: what must be used once can note it. */
  readonly id: string;
  readonly expiresAt: Date;
  /** All that it says. */
  readonly claims: Readonly<Record<string, unknown>>;
}

const PURPOSE = 'lockstep-session-jwt';
const ALGORITHM = 'HS256';
/** Of its own, so that no other JWT passes for one. */
const TYPE = 'lockstep-session+jwt';
const LONGEST_TOKEN = 8_192;
const SIGNATURE = /\.([A-Za-z0-9_-]{43})$/;
const SID = /^([A-Za-z0-9_-]{1,43})\.([A-Za-z0-9_-]{1,40})$/;
const REQUIRED = ['sub', 'aud', 'sid', 'iat', 'exp', 'jti'];
const RESERVED = new Set([...REQUIRED, 'tenant', 'iss', 'nbf']);

/**
 * Short-lived access tokens for services that share no session: JWTs that hang on a session, which is what they are
 * renewed by. Provide it where `SessionModule` is imported; needs `jose` 6.
 *
 * HS256 under a key that is derived from the keys of SessionModule for nothing else, so that those who verify are part of
 * the same application: whoever can verify can issue.
 */
@Injectable()
export class SessionJwts implements OnModuleInit {
  private readonly keys: DerivedKeys;
  private jose: typeof Jose | undefined;

  constructor(
    @Inject(SessionService) sessions: SessionService,
    @Inject(SESSION_STORE) private readonly store: SessionStore | KeepingDriver,
  ) {
    this.keys = sessions.options.keyring.derive(PURPOSE);
  }

  /** @throws ConfigurationError where jose is not installed */
  async onModuleInit(): Promise<void> {
    await this.library();
  }

  /**
   * A token for the session's user.
   *
   * @throws SessionRequiredError for a session of nobody
   * @throws SessionMisuseError for an audience or claims that cannot be
   * @throws ConfigurationError for a `ttl` that is none
   */
  async issue(session: SessionRef, options: IssueJwtOptions): Promise<string> {
    const { principal, handle, expiresAt } = session;
    const ttlMs = durationMs(options.ttl ?? '5m', 'ttl', { minMs: 1_000, maxMs: 3_600_000 });
    const audience = checkedAudience(options.audience);
    const claims = checkedClaims(options.claims);
    if (!principal || handle === undefined || !expiresAt) throw new SessionRequiredError('no-principal');
    const { SignJWT } = await this.library();
    const { currentId } = this.keys;
    const key = this.keys.find(currentId);
    if (!key) throw new TypeError('A keyring has its current key');
    // The calendar's clock: those who verify have nothing else in common with this process.
    const now = Date.now();
    const { id, tenant } = principal;
    const own = { sid: `${handle}.${userGroup(principal)}`, ...(tenant === undefined ? {} : { tenant }) };
    const token = await new SignJWT({ ...claims, ...own })
      .setProtectedHeader({ alg: ALGORITHM, kid: currentId, typ: TYPE })
      .setSubject(id)
      .setAudience(audience)
      .setIssuedAt(Math.floor(now / 1_000))
      .setExpirationTime(Math.floor(Math.min(now + ttlMs, expiresAt.getTime()) / 1_000))
      .setJti(randomUUID())
      .sign(key);
    if (token.length <= LONGEST_TOKEN) return token;
    throw new SessionMisuseError(
      `A JWT of a session has at most ${LONGEST_TOKEN} characters; fewer claims are needed.`,
    );
  }

  /**
   * Whom a token speaks for.
   *
   * @throws SessionJwtError for everything that proves nothing
   * @throws SessionMisuseError with `live`, where sessions are kept by their clients
   * @throws StoreUnavailableError with `live`, when nobody could tell
   */
  async verify(token: string, options: VerifyJwtOptions): Promise<VerifiedJwt> {
    const claims = await this.claimsOf(token, checkedAudience(options.audience));
    const { sub, tenant, sid, jti, exp } = claims;
    const [, handle, group] = SID.exec(String(sid)) ?? [];
    const isOdd = tenant !== undefined && typeof tenant !== 'string';
    if (!sub || !jti || exp === undefined || handle === undefined || group === undefined || isOdd) {
      throw new SessionJwtError('invalid');
    }
    const principal = Object.freeze(tenant === undefined ? { id: sub } : { id: sub, tenant });
    if (options.live) await this.assertLive({ id: handle, group }, principal);
    return { principal, handle, id: jti, expiresAt: new Date(exp * 1_000), claims };
  }

  private async claimsOf(token: string, audience: string): Promise<Jose.JWTPayload> {
    const { jwtVerify, errors } = await this.library();
    // Base64 has several spellings of the same signature; one is ours.
    const [, signature = ''] = (typeof token === 'string' && SIGNATURE.exec(token)) || [];
    const isOurs = signature !== '' && Buffer.from(signature, 'base64url').toString('base64url') === signature;
    if (!isOurs || token.length > LONGEST_TOKEN) throw new SessionJwtError('invalid');
    try {
      const { payload } = await jwtVerify(token, ({ kid }) => this.keyOf(kid), {
        algorithms: [ALGORITHM],
        typ: TYPE,
        audience,
        requiredClaims: REQUIRED,
        currentDate: new Date(Date.now()),
      });
      return payload;
    } catch (cause) {
      if (cause instanceof errors.JWTExpired) throw new SessionJwtError('expired', cause);
      const isAudience = cause instanceof errors.JWTClaimValidationFailed && cause.claim === 'aud';
      throw cause instanceof SessionJwtError ? cause : new SessionJwtError(isAudience ? 'audience' : 'invalid', cause);
    }
  }

  private keyOf(id: string | undefined): NonNullable<ReturnType<DerivedKeys['find']>> {
    const key = typeof id === 'string' ? this.keys.find(id) : undefined;
    if (!key) throw new SessionJwtError('invalid');
    return key;
  }

  private async assertLive(key: SessionKey, principal: Principal): Promise<void> {
    const { store } = this;
    if (isKeepingDriver(store)) {
      throw new SessionMisuseError(
        'Sessions that are kept by their clients cannot be looked up: verify without `live`.',
      );
    }
    const record = await store.load({ key, touchAfterMs: Number.POSITIVE_INFINITY });
    const user = findLogin(record?.principal)?.principal;
    if (user?.id !== principal.id || user.tenant !== principal.tenant) throw new SessionJwtError('ended');
  }

  private async library(): Promise<typeof Jose> {
    try {
      this.jose ??= await import('jose');
      return this.jose;
    } catch (cause) {
      throw new ConfigurationError('SessionJwts needs jose 6, which is not installed: npm install jose', cause);
    }
  }
}

/** @throws SessionMisuseError */
function checkedAudience(audience: string | undefined): string {
  if (typeof audience === 'string' && audience !== '') return audience;
  throw new SessionMisuseError('A JWT of a session needs an audience: the name of who accepts it.');
}

/** @throws SessionMisuseError */
function checkedClaims(claims: IssueJwtOptions['claims'] = {}): Readonly<Record<string, unknown>> {
  for (const name of Object.keys(claims)) {
    if (RESERVED.has(name)) throw new SessionMisuseError(`A JWT of a session says '${name}' by itself.`);
  }
  return claims;
}
