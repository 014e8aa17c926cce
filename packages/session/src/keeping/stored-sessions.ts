import { randomBytes } from 'node:crypto';
import { checkpoint, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import { TooManySessionsError } from '../session.errors.js';
import type { ResolvedSessionOptions } from '../session.options.js';
import type { SessionEvent } from '../session-events.js';
import type { ReplaceRequest, SessionDraft, SessionKey, SessionRecord, SessionStore, Swept } from '../session-store.js';
import { LONGEST_TOKEN, type SessionToken, type SessionTokens } from '../session-token.js';
import { userGroup } from '../user/user-group.js';
import {
  decodeLogin,
  encodeLogin,
  findLogin,
  type KeepingHost,
  type KeptSession,
  type LoginRequest,
  type ProvenToken,
  type SessionDelta,
  type SessionKeeping,
} from './session-keeping.js';

/** A failure so soon is a connection that broke, as in a failover; a server that is down takes its time to say so. */
const RETRIED_WITHIN_MS = 250;

export interface StoredSessionsHost extends KeepingHost {
  readonly store: SessionStore;
  readonly tokens: SessionTokens;
}

/** Sessions at a {@link SessionStore}; a step that fails at once is tried once more. */
export class StoredSessions implements SessionKeeping {
  readonly longestToken = LONGEST_TOKEN;
  readonly isInToken = false;

  constructor(private readonly host: StoredSessionsHost) {}

  recognise(token: string): ProvenToken | undefined {
    const found = this.host.tokens.recognise(token);
    return found && { token, load: (looksOnly) => this.load(found, looksOnly) };
  }

  async again({ token, record: { key } }: KeptSession): Promise<KeptSession | undefined> {
    const { store, tokens } = this.host;
    if (tokens.recognise(token)?.key.id === key.id) return undefined;
    const record = await retried(() => store.load({ key, touchAfterMs: Number.POSITIVE_INFINITY }));
    return record && { token, record };
  }

  async create(attributes: ReadonlyMap<string, string>, meta: string): Promise<KeptSession> {
    const { tokens } = this.host;
    const { token, key } = tokens.issue();
    const { idleMs, absoluteMs } = this.host.options;
    const draft = { key, idleMs, absoluteMs, principal: undefined, meta };
    return { token, record: await this.make(draft, attributes, undefined) };
  }

  async save({ token, record }: KeptSession, delta: SessionDelta): Promise<KeptSession | 'gone' | 'conflict'> {
    const request = { key: record.key, ...delta, save: randomBytes(9).toString('base64url') };
    const outcome = await retried(() => this.host.store.save(request));
    if (outcome.outcome !== 'saved') return outcome.outcome;
    checkpoint('session.saved');
    const attributes = new Map(record.attributes);
    let index = 0;
    for (const [name, text] of delta.set) {
      attributes.set(name, { text, revision: outcome.revisions[index] ?? 0 });
      index += 1;
    }
    for (const name of delta.remove) attributes.delete(name);
    return { token, record: { ...record, version: outcome.version, attributes } };
  }

  async login({ from, user, keepAttributes, attributes, meta }: LoginRequest): Promise<KeptSession | 'gone'> {
    const { idleMs, absoluteMs, limit } = this.host.options;
    const { token, key } = this.host.tokens.issue(userGroup(user.principal));
    const draft = { key, idleMs, absoluteMs, principal: encodeLogin(user), meta };
    if (!from) {
      const record = await this.make(draft, attributes, limit);
      this.tell('login', record.key.id, draft.principal);
      return { token, record };
    }
    const manner = keepAttributes ? 'login' : 'reset';
    const outcome = await this.replace({ from: from.record.key, draft, manner, limit });
    if (outcome === 'gone' || outcome === 'renewed') return 'gone';
    this.tell('login', outcome.key.id, draft.principal);
    return { token, record: outcome };
  }

  async rotate({ record }: KeptSession): Promise<KeptSession | 'gone'> {
    const { tokens } = this.host;
    const { token, key } = tokens.issue(record.key.group);
    const { principal: text, meta, idleMs, expiresAt, readAt, createdAt } = record;
    const user = decodeLogin(text);
    const principal = user && encodeLogin({ ...user, at: user.at ?? createdAt });
    const draft = { key, idleMs, absoluteMs: Math.max(expiresAt - readAt, 1), principal, meta };
    const outcome = await this.replace({ from: record.key, draft, manner: 'login' });
    if (outcome === 'gone' || outcome === 'renewed') return 'gone';
    this.tell('renewed', key.id, principal);
    return { token, record: outcome };
  }

  async renewIfDue(kept: KeptSession): Promise<KeptSession> {
    const { options, tokens } = this.host;
    const { record } = kept;
    if (record.readAt - record.issuedAt < options.renewEveryMs) return kept;
    // An id that was renewed by another request leads here, and is not renewed twice.
    if (tokens.recognise(kept.token)?.key.id !== record.key.id) return kept;
    const { token, key } = tokens.issue(record.key.group);
    const { idleMs, principal, meta } = record;
    const draft = { key, idleMs, absoluteMs: options.absoluteMs, principal, meta };
    try {
      const outcome = await this.replace({
        from: record.key,
        draft,
        manner: 'renew',
        graceMs: options.renewGraceMs,
      });
      if (outcome === 'gone' || outcome === 'renewed') return kept;
      this.tell('renewed', key.id, principal);
      return { token, record: outcome };
    } catch (cause) {
      if (!(cause instanceof StoreUnavailableError)) throw cause;
      // The session itself was loaded: the next request may renew its id.
      this.host.incidents.report({
        code: 'SESSION_NOT_RENEWED',
        source: 'session.renew',
        message: 'The id of a session could not be renewed and serves on',
        cause,
      });
      return kept;
    }
  }

  async end({ record }: KeptSession): Promise<void> {
    const { id, group } = record.key;
    const removed = await retried(() => this.host.store.remove({ group, ids: [id] }));
    checkpoint('session.removed');
    // A request may have renewed its id meanwhile.
    for (const ended of removed) this.tell('logout', ended, record.principal);
  }

  private async load({ token, key }: SessionToken, looksOnly = false): Promise<KeptSession | undefined> {
    const { store, options } = this.host;
    const touchAfterMs = looksOnly ? Number.POSITIVE_INFINITY : options.touchAfterMs;
    const record = await retried(() => store.load({ key, touchAfterMs }));
    return record && { token, record };
  }

  private async make(
    draft: SessionDraft,
    attributes: ReadonlyMap<string, string>,
    limit: ResolvedSessionOptions['limit'],
  ): Promise<SessionRecord> {
    const outcome = await retried(() => this.host.store.create({ draft, attributes, limit }));
    if (outcome.outcome === 'refused') throw new TooManySessionsError(limit?.sessions ?? 0);
    checkpoint('session.created');
    this.tell('created', draft.key.id, draft.principal);
    this.tellSwept(outcome, draft.principal);
    return outcome.record;
  }

  private async replace(request: ReplaceRequest): Promise<SessionRecord | 'gone' | 'renewed'> {
    const outcome = await retried(() => this.host.store.replace(request));
    if (outcome.outcome === 'refused') throw new TooManySessionsError(request.limit?.sessions ?? 0);
    if (outcome.outcome !== 'replaced') return outcome.outcome;
    checkpoint('session.replaced');
    this.tellSwept(outcome, request.draft.principal);
    return outcome.record;
  }

  private tellSwept({ evicted, expired }: Swept, principal: string | undefined): void {
    for (const id of evicted) this.tell('evicted', id, principal);
    for (const id of expired) this.tell('expired', id, principal);
  }

  private tell(
    type: Exclude<SessionEvent['type'], 'dropped'>,
    id: SessionKey['id'],
    principal: string | undefined,
  ): void {
    if (!this.host.events.isEmpty) {
      this.host.events.emit({ type, handle: id, principal: findLogin(principal)?.principal });
    }
  }
}

/** Runs a step that may be taken twice; once more where it failed at once. */
export async function retried<T>(step: () => Promise<T>): Promise<T> {
  const startedAt = monotonicMs();
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof StoreUnavailableError) || monotonicMs() - startedAt > RETRIED_WITHIN_MS) throw error;
    return step();
  }
}
