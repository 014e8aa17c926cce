import type { OnApplicationBootstrap } from '@nestjs/common';
import type {
  CreateOutcome,
  CreateRequest,
  LoadRequest,
  RemoveRequest,
  ReplaceOutcome,
  ReplaceRequest,
  SaveOutcome,
  SaveRequest,
  SessionDraft,
  SessionHead,
  SessionLimit,
  SessionRecord,
  SessionStore,
} from '../../session-store.js';
import type { EndedSessions } from './ended-sessions.js';
import { withoutNul } from './nul-free-text.js';
import type { SessionDatabase } from './session-database.js';
import {
  type MadeRow,
  readCreated,
  readHeads,
  readIds,
  readRecord,
  readReplaced,
  readSaved,
  type SavedRow,
} from './session-rows.js';
import { CREATE, LIST, LOAD, REMOVE, REPLACE, SAVE } from './session-statements.js';

const MOST_LISTED = 1_000;

/**
 * One row per session, changed in single steps by the database's clock. Every step is one round trip, committed at once
 * on a connection of its own, also while the caller has a transaction open.
 */
export class PostgresSessionStore implements SessionStore, OnApplicationBootstrap {
  constructor(
    protected readonly database: SessionDatabase,
    private readonly reaper: EndedSessions,
  ) {}

  /** Here and not at first use, whose caller's transaction and trace the loop would be part of for ever. */
  onApplicationBootstrap(): void {
    this.reaper.start();
  }

  /**
   * Calls `listener` with sessions of somebody that had run out and that the purge of this process has deleted: those are
   * in nobody's `expired` any more. Best effort. Returns the function that ends it.
   */
  onExpired(listener: (sessions: readonly SessionHead[]) => void): () => void {
    return this.reaper.onExpired(listener);
  }

  async load({ key, touchAfterMs }: LoadRequest): Promise<SessionRecord | undefined> {
    const touchAfter = Number.isFinite(touchAfterMs) ? touchAfterMs : null;
    const row = await this.database.step<{ record: string | null }>('session.load', LOAD, [
      key.id,
      key.group,
      touchAfter,
    ]);
    return row?.record == null ? undefined : readRecord(row.record);
  }

  async create({ draft, attributes, limit }: CreateRequest): Promise<CreateOutcome> {
    const row = await this.database.step<MadeRow>('session.create', CREATE, [
      ...draftParams(draft),
      ...attributeParams(attributes),
      ...limitParams(limit),
    ]);
    return readCreated(row);
  }

  async save({ key, set, remove, expect, save }: SaveRequest): Promise<SaveOutcome> {
    const row = await this.database.step<SavedRow>('session.save', SAVE, [
      key.id,
      key.group,
      ...attributeParams(set),
      remove.map(withoutNul),
      expect && withoutNul(expect.attribute),
      expect?.revision,
      save,
    ]);
    return readSaved(row);
  }

  async replace({ from, draft, manner, graceMs = 0, limit }: ReplaceRequest): Promise<ReplaceOutcome> {
    const row = await this.database.step<MadeRow>('session.replace', REPLACE, [
      from.id,
      from.group,
      ...draftParams(draft),
      manner,
      graceMs,
      ...limitParams(limit),
    ]);
    return readReplaced(row);
  }

  async list(group: string): Promise<{ sessions: SessionHead[]; expired: string[] }> {
    const row = await this.database.step<{ sessions: string; expired: string }>('session.list', LIST, [
      group,
      MOST_LISTED,
    ]);
    return { sessions: readHeads(row?.sessions ?? '[]'), expired: readIds(row?.expired ?? null) };
  }

  async remove({ group, ids, except }: RemoveRequest): Promise<string[]> {
    const row = await this.database.step<{ removed: string }>('session.remove', REMOVE, [group, ids, except]);
    return readIds(row?.removed ?? null);
  }
}

function draftParams({ key, idleMs, absoluteMs, principal, meta }: SessionDraft): readonly unknown[] {
  const user = principal === undefined ? undefined : withoutNul(principal);
  return [key.id, key.group, idleMs, absoluteMs, user, withoutNul(meta)];
}

/** Names and texts. */
function attributeParams(attributes: ReadonlyMap<string, string>): readonly (readonly string[])[] {
  return [[...attributes.keys()].map(withoutNul), [...attributes.values()].map(withoutNul)];
}

function limitParams(limit: SessionLimit | undefined): readonly unknown[] {
  return [limit?.sessions, limit?.policy];
}
