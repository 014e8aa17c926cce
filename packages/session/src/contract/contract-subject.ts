import { randomBytes } from 'node:crypto';
import { vi } from 'vitest';
import type {
  CreateOutcome,
  CreateRequest,
  ReplaceOutcome,
  ReplaceRequest,
  SaveOutcome,
  SaveRequest,
  SessionDraft,
  SessionKey,
  SessionLimit,
  SessionRecord,
  SessionStore,
} from '../session-store.js';

export interface OpenedSessionStore {
  readonly store: SessionStore;
  /** The same sessions over another connection, as another process has them; races are run between the two. */
  readonly another?: SessionStore;
  close?(): Promise<void>;
}

export interface SessionStoreHarness {
  /** The driver, as reports shall name it. */
  readonly name: string;
  /** Opens a store that no other test uses; called once. */
  open(): Promise<OpenedSessionStore>;
}

export const LONG_MS = 600_000;
/** How facts wait for what only time brings about. */
export const POLL = { timeout: 8_000, interval: 25 };

export type Created = Extract<CreateOutcome, { outcome: 'created' }>;
export type Replaced = Extract<ReplaceOutcome, { outcome: 'replaced' }>;

/** The store under test, and shorthands for what the facts need. */
export class ContractSubject {
  private opened: OpenedSessionStore | undefined;

  get store(): SessionStore {
    if (!this.opened) throw new Error('The store is open from beforeAll on');
    return this.opened.store;
  }

  get another(): SessionStore {
    return this.opened?.another ?? this.store;
  }

  async open(harness: SessionStoreHarness): Promise<void> {
    this.opened = await harness.open();
  }

  async close(): Promise<void> {
    await this.opened?.close?.();
  }

  group(): string {
    return `u${randomBytes(16).toString('base64url')}`;
  }

  key(group = this.group()): SessionKey {
    return { id: randomBytes(32).toString('base64url'), group };
  }

  draft(change: Partial<SessionDraft> = {}): SessionDraft {
    return {
      key: this.key(),
      idleMs: LONG_MS,
      absoluteMs: LONG_MS * 2,
      principal: undefined,
      meta: '{}',
      ...change,
    };
  }

  /** Of somebody, whose sessions the group names. */
  userDraft(group: string, change: Partial<SessionDraft> = {}): SessionDraft {
    return this.draft({ key: this.key(group), principal: '{"id":"7"}', ...change });
  }

  async created(
    draft: SessionDraft,
    attributes: Readonly<Record<string, string>> = {},
    limit?: SessionLimit,
  ): Promise<Created> {
    const outcome = await this.store.create(this.creation(draft, attributes, limit));
    if (outcome.outcome !== 'created') throw new Error(`expected a session, got ${outcome.outcome}`);
    return outcome;
  }

  creation(
    draft: SessionDraft,
    attributes: Readonly<Record<string, string>> = {},
    limit?: SessionLimit,
  ): CreateRequest {
    return { draft, attributes: new Map(Object.entries(attributes)), limit };
  }

  /** A live session of nobody. */
  async visitor(attributes: Readonly<Record<string, string>> = {}): Promise<SessionKey> {
    return (await this.created(this.draft(), attributes)).record.key;
  }

  /** A live session of somebody. */
  async session(group: string, attributes: Readonly<Record<string, string>> = {}): Promise<SessionKey> {
    return (await this.created(this.userDraft(group), attributes)).record.key;
  }

  async replaced(request: ReplaceRequest): Promise<Replaced> {
    const outcome = await this.store.replace(request);
    if (outcome.outcome !== 'replaced') throw new Error(`expected a successor, got ${outcome.outcome}`);
    return outcome;
  }

  async renewed(from: SessionKey, change: Partial<ReplaceRequest> = {}): Promise<SessionKey> {
    const draft = this.draft({ key: this.key(from.group) });
    return (await this.replaced({ from, draft, manner: 'renew', graceMs: LONG_MS, ...change })).record.key;
  }

  /** Looks, without noting a use. */
  look(key: SessionKey): Promise<SessionRecord | undefined> {
    return this.store.load({ key, touchAfterMs: Number.POSITIVE_INFINITY });
  }

  use(key: SessionKey, touchAfterMs = 0): Promise<SessionRecord | undefined> {
    return this.store.load({ key, touchAfterMs });
  }

  saving(key: SessionKey, set: Readonly<Record<string, string>>, change: Partial<SaveRequest> = {}): SaveRequest {
    const save = randomBytes(12).toString('base64url');
    return { key, set: new Map(Object.entries(set)), remove: [], save, ...change };
  }

  save(
    key: SessionKey,
    set: Readonly<Record<string, string>>,
    change: Partial<SaveRequest> = {},
  ): Promise<SaveOutcome> {
    return this.store.save(this.saving(key, set, change));
  }

  /** The texts of a session's attributes; undefined where there is no session. */
  async texts(key: SessionKey): Promise<Readonly<Record<string, string>> | undefined> {
    const record = await this.look(key);
    return record && Object.fromEntries([...record.attributes].map(([name, { text }]) => [name, text]));
  }

  async isLive(key: SessionKey): Promise<boolean> {
    return (await this.look(key)) !== undefined;
  }

  /** Waits for what ends by itself. */
  async gone(key: SessionKey): Promise<void> {
    await vi.waitFor(async () => {
      if (await this.isLive(key)) throw new Error('the session is still live');
    }, POLL);
  }

  async listed(group: string): Promise<string[]> {
    return (await this.store.list(group)).sessions.map(({ key }) => key.id);
  }
}
