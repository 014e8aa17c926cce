import type { Incidents, Listeners, Principal } from '@lockstep/core';
import type { Presented } from '../http/session-transport.js';
import type { ResolvedSessionOptions } from '../session.options.js';
import type { SessionEvent } from '../session-events.js';
import type { SessionRecord, SessionStore } from '../session-store.js';

/** A session as it was last seen, and what a client must hold to be led to it. */
export interface KeptSession {
  readonly token: string;
  readonly record: SessionRecord;
}

/** A token that was issued here, proven once: it costs more than to look at a map. */
export interface ProvenToken {
  readonly token: string;
  /** The session that it leads to, and its use noted unless `looksOnly`. */
  load(looksOnly?: boolean): Promise<KeptSession | undefined>;
}

/** What login writes about a user; encoded, the `principal` of a record. */
export interface LoggedIn {
  readonly principal: Principal;
  readonly amr: readonly string[];
  /** Epoch milliseconds of the store's clock; undefined for a login that makes the record, which tells it then. */
  readonly at: number | undefined;
}

export interface SessionDelta {
  readonly set: ReadonlyMap<string, string>;
  readonly remove: readonly string[];
  readonly expect?: { readonly attribute: string; readonly revision: number } | undefined;
}

export interface LoginRequest {
  readonly from: KeptSession | undefined;
  readonly user: LoggedIn;
  readonly keepAttributes: boolean;
  /** Of a visitor without a session. */
  readonly attributes: ReadonlyMap<string, string>;
  readonly meta: string;
}

/**
 * Where sessions live between requests: at a store, or sealed in the cookie itself. All methods reject with
 * `StoreUnavailableError` as a store does; `gone` is as in `SessionStore`.
 */
export interface SessionKeeping {
  /** The longest value that a client may bring. */
  readonly longestToken: number;
  /** Whether the token is the session: what is saved then must reach the client, or it is lost. */
  readonly isInToken: boolean;
  /** Without I/O. Undefined for whatever was not issued here. */
  recognise(token: string): ProvenToken | undefined;
  /**
   * The session that was found before, though its token may lead there no more: its id was renewed, and the token's
   * grace is over. Undefined where tokens are not renewed under way.
   */
  again?(kept: KeptSession): Promise<KeptSession | undefined>;
  create(attributes: ReadonlyMap<string, string>, meta: string): Promise<KeptSession>;
  save(kept: KeptSession, delta: SessionDelta): Promise<KeptSession | 'gone' | 'conflict'>;
  /** @throws TooManySessionsError */
  login(request: LoginRequest): Promise<KeptSession | 'gone'>;
  /** A new id for the same session; the old one ends at once. */
  rotate(kept: KeptSession): Promise<KeptSession | 'gone'>;
  /** The same where the id is due for it; requests with the old one are still served for a while. */
  renewIfDue(kept: KeptSession): Promise<KeptSession>;
  end(kept: KeptSession): Promise<void>;
  /** Ends all sessions of a user without knowing them; only for a keeping that is no {@link SessionStore}. */
  readonly endAll?: ((user: Principal) => Promise<void>) | undefined;
}

/** What a keeping is given by the module. */
export interface KeepingHost {
  readonly options: ResolvedSessionOptions;
  readonly events: Listeners<SessionEvent>;
  readonly incidents: Incidents;
}

/** A `store` of SessionModule that keeps sessions in a way of its own. */
export interface KeepingDriver {
  /** @throws ConfigurationError when it cannot do what the options ask for */
  open(host: KeepingHost): SessionKeeping;
}

export function isKeepingDriver(store: SessionStore | KeepingDriver): store is KeepingDriver {
  return typeof (store as Partial<KeepingDriver>).open === 'function';
}

/** Those of a client's tokens that were issued here. */
export function provenTokens({ tokens }: Presented, keeping: SessionKeeping): ProvenToken[] {
  const proven: ProvenToken[] = [];
  for (const token of tokens) {
    const one = token.length <= keeping.longestToken && keeping.recognise(token);
    if (one) proven.push(one);
  }
  return proven;
}

export function encodeLogin({ principal, amr, at }: LoggedIn): string {
  const { id, tenant } = principal;
  return JSON.stringify({ id, ...(tenant === undefined ? {} : { tenant }), amr, ...(at === undefined ? {} : { at }) });
}

/** @throws SyntaxError or TypeError for what was not encoded here */
export function decodeLogin(text: string | undefined): LoggedIn | undefined {
  if (text === undefined) return undefined;
  const { id, tenant, amr, at } = JSON.parse(text) as Principal & Omit<LoggedIn, 'principal'>;
  const isUser = typeof id === 'string' && id !== '' && (tenant === undefined || typeof tenant === 'string');
  if (!isUser || !Array.isArray(amr) || (at !== undefined && !Number.isFinite(at))) {
    throw new TypeError('The user of a session is none');
  }
  const principal = Object.freeze(tenant === undefined ? { id } : { id, tenant });
  return { principal, amr, at };
}

/** The same where a text that cannot be decoded is that of nobody. */
export function findLogin(text: string | undefined): LoggedIn | undefined {
  try {
    return decodeLogin(text);
  } catch {
    // Of another version. Its session is reported where a request brings it.
    return undefined;
  }
}
