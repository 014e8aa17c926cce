import {
  type CreateOutcome,
  type CreateRequest,
  type LoadRequest,
  REMEMBERED_SAVES,
  type RemoveRequest,
  type ReplaceOutcome,
  type ReplaceRequest,
  type SaveOutcome,
  type SaveRequest,
  type SessionDraft,
  type SessionHead,
  type SessionKey,
  type SessionLimit,
  type SessionRecord,
  type SessionStore,
  type StoredAttribute,
  type WatchableStore,
} from '../../session-store.js';
import { Watchers } from './watchers.js';

export interface MemorySessionStoreOptions {
  /** Clock in epoch milliseconds. @default a clock of this process that never steps */
  readonly nowMs?: () => number;
}

interface Kept {
  head: SessionHead;
  version: number;
  readonly attributes: Map<string, StoredAttribute>;
  /** Names of the latest saves, oldest first. */
  readonly saves: string[];
  /** The old id that leads here, as long as nobody has used the new one. */
  predecessor: { readonly id: string; readonly graceMs: number } | undefined;
}

/** An old id that leads to its successor. */
interface Alias {
  readonly to: string;
  endsAt: number;
}

const PURGE_EVERY_STEPS = 256;
const MOST_LISTED = 1_000;

/**
 * The sessions in the memory of this process: right for one process and for tests, gone with a restart. What has run out
 * is dropped on every 256th step.
 */
export class MemorySessionStore implements SessionStore, WatchableStore {
  private readonly sessions = new Map<string, Kept>();
  private readonly aliases = new Map<string, Alias>();
  private readonly groups = new Map<string, Set<string>>();
  private readonly watchers = new Watchers();
  private readonly nowMs: () => number;
  private steps = 0;

  constructor(options: MemorySessionStoreOptions = {}) {
    this.nowMs = options.nowMs ?? (() => performance.timeOrigin + performance.now());
  }

  /** How many sessions there are, those that have run out included. */
  get size(): number {
    return this.sessions.size;
  }

  async load({ key, touchAfterMs }: LoadRequest): Promise<SessionRecord | undefined> {
    this.purgeNowAndThen();
    const now = this.nowMs();
    const kept = this.find(key, now);
    if (!kept) return undefined;
    if (Number.isFinite(touchAfterMs)) this.use(kept, key, touchAfterMs, now);
    return recordOf(kept, now);
  }

  async create({ draft, attributes, limit }: CreateRequest): Promise<CreateOutcome> {
    this.purgeNowAndThen();
    const now = this.nowMs();
    const own = this.find(draft.key, now);
    if (own) return { outcome: 'created', record: recordOf(own, now), evicted: [], expired: [] };
    const room = this.makeRoom(draft, limit, undefined, now);
    if (!room) return { outcome: 'refused' };
    const kept = this.add(draft, now);
    this.write(kept, attributes, []);
    return { outcome: 'created', record: recordOf(kept, now), ...room };
  }

  async save({ key, set, remove, expect, save }: SaveRequest): Promise<SaveOutcome> {
    const kept = this.find(key, this.nowMs());
    if (!kept) return { outcome: 'gone' };
    const revisionOf = (name: string): number => kept.attributes.get(name)?.revision ?? 0;
    if (!kept.saves.includes(save)) {
      if (expect && revisionOf(expect.attribute) !== expect.revision) return { outcome: 'conflict' };
      this.write(kept, set, remove);
      kept.saves.push(save);
      if (kept.saves.length > REMEMBERED_SAVES) kept.saves.shift();
    }
    return { outcome: 'saved', version: kept.version, revisions: [...set.keys()].map(revisionOf) };
  }

  async replace(request: ReplaceRequest): Promise<ReplaceOutcome> {
    const { from, draft, manner, limit } = request;
    const now = this.nowMs();
    const own = this.find(draft.key, now);
    if (own) return { outcome: 'replaced', record: recordOf(own, now), evicted: [], expired: [] };
    const old = this.find(from, now);
    if (!old) return { outcome: 'gone' };
    if (manner === 'renew') return this.renew(old, request, now);
    const room = this.makeRoom(draft, limit, old.head.key.id, now);
    if (!room) return { outcome: 'refused' };
    this.drop(old);
    const kept = this.add(draft, now);
    if (manner === 'login') for (const [name, attribute] of old.attributes) kept.attributes.set(name, attribute);
    kept.version = old.version + 1;
    return { outcome: 'replaced', record: recordOf(kept, now), ...room };
  }

  async list(group: string): Promise<{ sessions: SessionHead[]; expired: string[] }> {
    const { live, expired } = this.sweep(group, this.nowMs());
    const sessions = live.map(({ head }) => head).sort((a, b) => b.createdAt - a.createdAt);
    return { sessions: sessions.slice(0, MOST_LISTED), expired };
  }

  async remove({ group, ids, except }: RemoveRequest): Promise<string[]> {
    const now = this.nowMs();
    const spared = except === undefined ? undefined : this.find({ id: except, group }, now);
    const doomed = ids ? ids.map((id) => this.find({ id, group }, now)) : this.sweep(group, now).live;
    const removed = new Set(doomed.filter((kept): kept is Kept => kept !== undefined && kept !== spared));
    for (const kept of removed) this.drop(kept);
    return [...removed].map(({ head }) => head.key.id);
  }

  async watch(key: SessionKey, ended: () => void): Promise<() => Promise<void>> {
    const id = this.find(key, this.nowMs())?.head.key.id;
    if (id === undefined) return async () => undefined;
    const leave = this.watchers.add(id, ended);
    return async () => leave();
  }

  private renew(old: Kept, { from, draft, graceMs = 0 }: ReplaceRequest, now: number): ReplaceOutcome {
    if (old.head.key.id !== from.id) return { outcome: 'renewed' };
    const { head } = old;
    const { key } = draft;
    this.sessions.delete(from.id);
    this.groups.get(key.group)?.delete(from.id);
    old.head = { ...head, key, issuedAt: now };
    old.predecessor = { id: from.id, graceMs };
    this.sessions.set(key.id, old);
    if (head.principal !== undefined) this.groupOf(key.group).add(key.id);
    this.watchers.move(from.id, key.id);
    this.aliases.set(from.id, { to: key.id, endsAt: now + head.idleMs });
    return { outcome: 'replaced', record: recordOf(old, now), evicted: [], expired: [] };
  }

  private add({ key, idleMs, absoluteMs, principal, meta }: SessionDraft, now: number): Kept {
    const times = { createdAt: now, issuedAt: now, lastAccessAt: now, expiresAt: now + absoluteMs, idleMs };
    const head = { key, ...times, principal, meta };
    const kept = { head, version: 0, attributes: new Map(), saves: [], predecessor: undefined };
    this.sessions.set(key.id, kept);
    if (principal !== undefined) this.groupOf(key.group).add(key.id);
    return kept;
  }

  private write(kept: Kept, set: ReadonlyMap<string, string>, remove: readonly string[]): void {
    kept.version += 1;
    for (const [name, text] of set) kept.attributes.set(name, { text, revision: kept.version });
    for (const name of remove) kept.attributes.delete(name);
  }

  /** What is found under a key, or under the one that it was renewed to, and that one again. */
  private find({ id, group }: SessionKey, now: number): Kept | undefined {
    let found = id;
    for (let alias = this.aliases.get(found); alias && alias.endsAt > now; alias = this.aliases.get(found)) {
      found = alias.to;
    }
    const kept = this.sessions.get(found);
    return kept && kept.head.key.group === group && endOf(kept) > now ? kept : undefined;
  }

  private use(kept: Kept, { id }: SessionKey, touchAfterMs: number, now: number): void {
    const { head, predecessor } = kept;
    if (predecessor && id === head.key.id) {
      const alias = this.aliases.get(predecessor.id);
      if (alias) alias.endsAt = Math.min(alias.endsAt, now + predecessor.graceMs);
      kept.predecessor = undefined;
    }
    if (now - head.lastAccessAt < touchAfterMs) return;
    kept.head = { ...head, lastAccessAt: now };
    if (id === head.key.id) return;
    // Somebody who never got the new id: the old one lives on as the session does.
    const alias = this.aliases.get(id);
    if (alias && kept.predecessor?.id === id) alias.endsAt = now + head.idleMs;
  }

  /** @returns undefined when there is none */
  private makeRoom(
    { principal, key }: SessionDraft,
    limit: SessionLimit | undefined,
    leaving: string | undefined,
    now: number,
  ): { evicted: string[]; expired: string[] } | undefined {
    if (principal === undefined || !limit) return { evicted: [], expired: [] };
    const others = this.membersOf(key.group).filter((kept) => endOf(kept) > now && kept.head.key.id !== leaving);
    const tooMany = others.length + 1 - limit.sessions;
    if (tooMany > 0 && limit.policy === 'reject') return undefined;
    const { expired } = this.sweep(key.group, now);
    const oldest = others.sort((a, b) => a.head.createdAt - b.head.createdAt).slice(0, Math.max(tooMany, 0));
    for (const kept of oldest) this.drop(kept);
    return { evicted: oldest.map(({ head }) => head.key.id), expired };
  }

  private sweep(group: string, now: number): { live: Kept[]; expired: string[] } {
    const live: Kept[] = [];
    const expired: string[] = [];
    for (const kept of this.membersOf(group)) {
      if (endOf(kept) > now) live.push(kept);
      else {
        expired.push(kept.head.key.id);
        this.forget(kept);
      }
    }
    return { live, expired };
  }

  private membersOf(group: string): Kept[] {
    return [...(this.groups.get(group) ?? [])].flatMap((id) => this.sessions.get(id) ?? []);
  }

  private drop(kept: Kept): void {
    this.forget(kept);
    this.watchers.tell(kept.head.key.id);
  }

  private forget({ head }: Kept): void {
    const { id, group } = head.key;
    this.sessions.delete(id);
    const members = this.groups.get(group);
    members?.delete(id);
    if (members?.size === 0) this.groups.delete(group);
  }

  private groupOf(group: string): Set<string> {
    const members = this.groups.get(group) ?? new Set();
    this.groups.set(group, members);
    return members;
  }

  private purgeNowAndThen(): void {
    this.steps += 1;
    if (this.steps % PURGE_EVERY_STEPS !== 0) return;
    const now = this.nowMs();
    // Those of somebody stay listed until their end is told.
    for (const kept of this.sessions.values()) {
      if (endOf(kept) <= now && kept.head.principal === undefined) this.forget(kept);
      if (kept.head.expiresAt <= now) this.forget(kept);
    }
    for (const [id, alias] of this.aliases) if (alias.endsAt <= now) this.aliases.delete(id);
  }
}

function endOf({ head }: Kept): number {
  return Math.min(head.lastAccessAt + head.idleMs, head.expiresAt);
}

function recordOf({ head, version, attributes }: Kept, now: number): SessionRecord {
  return { ...head, version, attributes: new Map(attributes), readAt: now };
}
