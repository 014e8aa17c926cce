import { randomBytes } from 'node:crypto';
import { ConfigurationError, type Principal } from '@lockstep/core';
import type { EpochStore } from '../../epoch-store.js';
import {
  decodeLogin,
  encodeLogin,
  type KeepingHost,
  type KeptSession,
  type LoginRequest,
  type ProvenToken,
  type SessionDelta,
  type SessionKeeping,
} from '../../keeping/session-keeping.js';
import { retried } from '../../keeping/stored-sessions.js';
import { SessionTooLargeError } from '../../session.errors.js';
import type { SessionEvent } from '../../session-events.js';
import type { StoredAttribute } from '../../session-store.js';
import { userGroup } from '../../user/user-group.js';
import { SealedBox } from './sealed-box.js';
import { decodeContent, encodeContent, type SealedContent } from './sealed-content.js';
import { MOST_SEALED_BYTES, type ResolvedSealedCookieOptions } from './sealed-cookie.options.js';

const ID_BYTES = 16;
const VISITOR_GROUP_CHARACTERS = 8;
/** What another key id or a longer number may add to a cookie of the greatest size. */
const SPARE_BYTES = 64;
const NO_META = '{}';

/**
 * Sessions that are sealed in the cookies of their clients; no store is asked but that of epochs.
 *
 * ```
 * absent --create, login--> sealed --save, touch, rotate--> sealed anew; the cookie before is good as well
 * sealed --idle | expiresAt | a higher epoch of its user--> refused
 * ```
 * A cookie that was copied is good until its time is over: logout takes it from the client, not from whoever has a copy.
 * Requests side by side work on what each has loaded, and the answer that comes last is what the client keeps.
 */
export class SealedSessions implements SessionKeeping {
  readonly longestToken = MOST_SEALED_BYTES + SPARE_BYTES;
  readonly isInToken = true;
  readonly endAll: ((user: Principal) => Promise<void>) | undefined;
  private readonly box: SealedBox;

  /** @throws ConfigurationError for what only a store can do */
  constructor(
    private readonly host: KeepingHost,
    private readonly sealed: ResolvedSealedCookieOptions,
    private readonly epochs: EpochStore | undefined,
  ) {
    const { keyring, cookie, header, limit, renewEveryMs } = host.options;
    if (limit) throw new ConfigurationError('Option maxPerUser: sealedCookieStore() cannot count sessions.');
    if (renewEveryMs !== Number.POSITIVE_INFINITY) {
      throw new ConfigurationError('Option renewEvery: sealedCookieStore() has no ids that could be replaced.');
    }
    this.box = new SealedBox(keyring, cookie?.name ?? header ?? '');
    if (epochs) this.endAll = (user) => this.bump(epochs, user);
  }

  recognise(token: string): ProvenToken | undefined {
    const text = this.box.open(token);
    return text === undefined ? undefined : { token, load: (looksOnly) => this.load(token, text, looksOnly) };
  }

  async create(attributes: ReadonlyMap<string, string>): Promise<KeptSession> {
    const kept = this.seal(this.begun(undefined, 0, revised(new Map(), attributes)));
    this.tell('created', kept);
    return kept;
  }

  async save({ token, record }: KeptSession, delta: SessionDelta): Promise<KeptSession | 'gone' | 'conflict'> {
    const content = this.contentOf(token);
    if (!content) return 'gone';
    const { expect } = delta;
    if (expect && (record.attributes.get(expect.attribute)?.revision ?? 0) !== expect.revision) return 'conflict';
    const attributes = revised(content.attributes, delta.set);
    for (const name of delta.remove) attributes.delete(name);
    return this.seal({ ...content, attributes, version: content.version + 1, lastAccessAt: this.after(content) });
  }

  async login(request: LoginRequest): Promise<KeptSession | 'gone'> {
    const { from, user, keepAttributes } = request;
    const epoch = await this.epochOf(userGroup(user.principal));
    const before = from && keepAttributes ? from.record.attributes : new Map<string, StoredAttribute>();
    const kept = this.seal(this.begun(encodeLogin(user), epoch, revised(before, request.attributes)));
    if (!from) this.tell('created', kept);
    this.tell('login', kept);
    return kept;
  }

  async rotate({ token }: KeptSession): Promise<KeptSession | 'gone'> {
    const content = this.contentOf(token);
    return content ? this.seal({ ...content, id: newId(), issuedAt: this.after(content) }) : 'gone';
  }

  async renewIfDue(kept: KeptSession): Promise<KeptSession> {
    return kept;
  }

  async end(kept: KeptSession): Promise<void> {
    this.tell('logout', kept);
  }

  private async load(token: string, text: string, looksOnly = false): Promise<KeptSession | undefined> {
    const content = this.within(decodeContent(text));
    const now = this.sealed.nowMs();
    if (!this.isLive(content, now) || (await this.isRevoked(content))) return undefined;
    if (looksOnly || now - content.lastAccessAt < this.host.options.touchAfterMs) return this.kept(token, content);
    const touched = { ...content, lastAccessAt: now };
    // It was small enough for the client before: a smaller limit must not lock its user out.
    return this.kept(this.box.seal(encodeContent(touched)), touched);
  }

  private begun(
    principal: string | undefined,
    epoch: number,
    attributes: ReadonlyMap<string, StoredAttribute>,
  ): SealedContent {
    const { idleMs, absoluteMs } = this.host.options;
    const now = this.sealed.nowMs();
    const times = { createdAt: now, issuedAt: now, lastAccessAt: now, expiresAt: now + absoluteMs, idleMs };
    return { id: newId(), ...times, principal, epoch, version: 1, attributes };
  }

  /** An `absolute` that was made shorter holds for all: an epoch is remembered no longer than that. */
  private within(content: SealedContent): SealedContent {
    const { absoluteMs } = this.host.options;
    return { ...content, expiresAt: Math.min(content.expiresAt, content.createdAt + absoluteMs) };
  }

  private isLive({ lastAccessAt, idleMs, expiresAt }: SealedContent, now: number): boolean {
    return now < expiresAt && now - lastAccessAt < idleMs && lastAccessAt - now <= this.sealed.maxSkewMs;
  }

  private async isRevoked({ principal, epoch }: SealedContent): Promise<boolean> {
    const user = decodeLogin(principal);
    return user !== undefined && (await this.epochOf(userGroup(user.principal))) > epoch;
  }

  private async epochOf(group: string): Promise<number> {
    const { epochs } = this;
    return epochs ? retried(() => epochs.read(group)) : 0;
  }

  private async bump(epochs: EpochStore, user: Principal): Promise<void> {
    // A process whose clock is behind by the skew accepts a cookie so much longer, from one that was ahead.
    const ttlMs = this.host.options.absoluteMs + 2 * this.sealed.maxSkewMs;
    await retried(() => epochs.bump(userGroup(user), ttlMs));
  }

  /** Now; never before the last use, which a process that is ahead may have noted. */
  private after({ lastAccessAt }: SealedContent): number {
    return Math.max(this.sealed.nowMs(), lastAccessAt);
  }

  private contentOf(token: string): SealedContent | undefined {
    const text = this.box.open(token);
    return text === undefined ? undefined : this.within(decodeContent(text));
  }

  /** @throws SessionTooLargeError */
  private seal(content: SealedContent): KeptSession {
    const token = this.box.seal(encodeContent(content));
    if (token.length > this.sealed.maxBytes) {
      throw new SessionTooLargeError('cookie', token.length, this.sealed.maxBytes);
    }
    return this.kept(token, content);
  }

  private kept(token: string, content: SealedContent): KeptSession {
    const { id, createdAt, issuedAt, lastAccessAt, expiresAt, idleMs, principal, version, attributes } = content;
    const user = decodeLogin(principal);
    const group = user ? userGroup(user.principal) : id.slice(0, VISITOR_GROUP_CHARACTERS);
    const times = { createdAt, issuedAt, lastAccessAt, expiresAt, idleMs, readAt: this.after(content) };
    return { token, record: { key: { id, group }, ...times, principal, meta: NO_META, attributes, version } };
  }

  private tell(type: 'created' | 'login' | 'logout', { record }: KeptSession): void {
    const { events } = this.host;
    if (events.isEmpty) return;
    const event: SessionEvent = { type, handle: record.key.id, principal: decodeLogin(record.principal)?.principal };
    events.emit(event);
  }
}

function newId(): string {
  return randomBytes(ID_BYTES).toString('base64url');
}

function revised(
  base: ReadonlyMap<string, StoredAttribute>,
  set: ReadonlyMap<string, string>,
): Map<string, StoredAttribute> {
  const attributes = new Map(base);
  for (const [name, text] of set) attributes.set(name, { text, revision: (base.get(name)?.revision ?? 0) + 1 });
  return attributes;
}
