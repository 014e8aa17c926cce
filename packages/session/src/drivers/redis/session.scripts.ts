import type { ScriptDefinition } from '@lockstep/redis';
import {
  type LoadRequest,
  REMEMBERED_SAVES,
  type RemoveRequest,
  type ReplaceRequest,
  type SaveRequest,
  type SessionDraft,
  type SessionHead,
  type SessionKey,
  type SessionLimit,
} from '../../session-store.js';
import { packedList } from './packed-list.js';
import type { SessionKeys } from './session-keys.js';
import { type StoredSession, sessionHead } from './stored-session.js';

/** A session to be written: a new one, a copy over whatever is there, or a copy over what must be there. */
export interface Creation {
  readonly draft: SessionDraft;
  readonly how: 'new' | 'copy' | 'copy-again';
  readonly version: number;
  /** Names and `<revision>:<text>` in turn. */
  readonly attributes: Iterable<string>;
  readonly limit: SessionLimit | undefined;
}

/** A session as a step left it, and which others it ended or found at their end. */
export interface Settled {
  readonly evicted: readonly string[];
  readonly expired: readonly string[];
  readonly session: StoredSession;
}

export type SavedReply =
  | { readonly outcome: 'gone' | 'conflict' }
  /** Without revisions all are the version. */
  | { readonly outcome: 'saved'; readonly version: number; readonly revisions: readonly number[] | undefined };

export interface Departure {
  readonly from: SessionKey;
  /** Of the session when it was copied. */
  readonly version: number;
  readonly copyId: string;
}

const MOST_LISTED = 1_000;
/** Longer than anybody sends a replacement again. */
const REMEMBER_LEAVING_MS = 60_000;

const source = (name: string): URL => new URL(`./scripts/${name}.lua`, import.meta.url);
const STATE = [source('session-state')];

export function loadScript(keys: SessionKeys): ScriptDefinition<LoadRequest, StoredSession | undefined> {
  return {
    name: 'session.load',
    source: source('load-session'),
    clock: 'lazy',
    keyCount: 1,
    argCount: 1,
    keys: ({ key }) => [keys.session(key)],
    args: ({ touchAfterMs }) => [Number.isFinite(touchAfterMs) ? touchAfterMs : 'never'],
    read: (reply, serverMs) => (Array.isArray(reply) ? { fields: reply, readAt: Math.floor(serverMs) } : undefined),
  };
}

export function createScript(keys: SessionKeys): ScriptDefinition<Creation, Settled | 'refused' | 'gone'> {
  const letters = { new: 'N', copy: 'C', 'copy-again': 'A' };
  return {
    name: 'session.create',
    source: source('create-session'),
    library: STATE,
    keyCount: 2,
    argCount: 8,
    keys: ({ draft: { key } }) => [keys.session(key), keys.index(key.group)],
    args: ({ draft, how, version, attributes, limit }) => {
      const [idle, absolute, principal, meta] = draftArgs(draft);
      return [letters[how], version, idle, absolute, principal, meta, packedList(attributes), limitArg(limit)];
    },
    read: readSettled,
  };
}

export function saveScript(keys: SessionKeys): ScriptDefinition<SaveRequest, SavedReply> {
  return {
    name: 'session.save',
    source: source('save-session'),
    library: STATE,
    clock: 'lazy',
    keyCount: 1,
    argCount: 6,
    keys: ({ key }) => [keys.session(key)],
    args: ({ expect, save, set, remove }) => [
      expect?.attribute ?? '',
      expect?.revision ?? '',
      save,
      REMEMBERED_SAVES,
      packedList([...set].flat()),
      packedList(remove),
    ],
    read: readSaved,
  };
}

/** Only where {@link ReplaceRequest.from} and the draft share a slot. */
export function replaceScript(
  keys: SessionKeys,
): ScriptDefinition<ReplaceRequest, Settled | 'renewed' | 'refused' | 'gone'> {
  return {
    name: 'session.replace',
    source: source('replace-session'),
    library: STATE,
    keyCount: 4,
    argCount: 7,
    keys: ({ from, draft: { key } }) => keys.ofReplacement(from, key),
    args: ({ manner, graceMs = 0, draft, limit }) => [manner, Math.ceil(graceMs), ...draftArgs(draft), limitArg(limit)],
    read: readSettled,
  };
}

export function leaveScript(keys: SessionKeys): ScriptDefinition<Departure, 'left' | 'changed' | 'gone'> {
  return {
    name: 'session.leave',
    source: source('leave-session'),
    library: STATE,
    clock: 'lazy',
    keyCount: 2,
    argCount: 3,
    keys: ({ from }) => [keys.session(from), keys.index(from.group)],
    args: ({ version, copyId }) => [version, copyId, REMEMBER_LEAVING_MS],
    read: (reply) => {
      if (reply === 'left' || reply === 'changed' || reply === 'gone') return reply;
      throw nonsense('session.leave', reply);
    },
  };
}

export function removeScript(keys: SessionKeys): ScriptDefinition<RemoveRequest, readonly string[]> {
  return {
    name: 'session.remove',
    source: source('remove-sessions'),
    library: STATE,
    clock: 'lazy',
    keyCount: 1,
    argCount: 3,
    keys: ({ group }) => [keys.index(group)],
    args: ({ group, ids, except }) => [keys.prefix(group), ids ? ids.join(' ') : '*', except ?? ''],
    read: idsOf,
  };
}

export function listScript(
  keys: SessionKeys,
): ScriptDefinition<string, { readonly entries: readonly ListedSession[]; readonly expired: readonly string[] }> {
  return {
    name: 'session.list',
    source: source('list-sessions'),
    library: STATE,
    keyCount: 1,
    argCount: 2,
    keys: (group) => [keys.index(group)],
    args: (group) => [keys.prefix(group), MOST_LISTED],
    read: readListed,
  };
}

/** Of a list; without its group. */
export type ListedSession = (group: string) => SessionHead;

function draftArgs({ idleMs, absoluteMs, principal, meta }: SessionDraft): [number, number, string, string] {
  return [Math.ceil(idleMs), Math.ceil(absoluteMs), principal === undefined ? '' : `=${principal}`, meta];
}

function limitArg(limit: SessionLimit | undefined): string {
  if (!limit) return '';
  return `${limit.policy === 'reject' ? 'R' : 'E'}${limit.sessions}`;
}

function readSettled<Word extends string>(reply: unknown, serverMs: number): Settled | Word {
  if (typeof reply === 'string') return reply as Word;
  if (!Array.isArray(reply)) throw nonsense('session', reply);
  const [evicted, expired, ...fields] = reply;
  return {
    evicted: idsOf(evicted),
    expired: idsOf(expired),
    session: { fields, readAt: Math.floor(serverMs) },
  };
}

function readSaved(reply: unknown): SavedReply {
  if (reply === 'gone' || reply === 'conflict') return { outcome: reply };
  const [version, ...revisions] = String(reply).split(' ').map(Number);
  if (version === undefined || Number.isNaN(version)) throw nonsense('session.save', reply);
  return { outcome: 'saved', version, revisions: revisions.length > 0 ? revisions : undefined };
}

function readListed(reply: unknown): { entries: readonly ListedSession[]; expired: readonly string[] } {
  const [expired, ...flat] = Array.isArray(reply) ? reply : [];
  const entries: ListedSession[] = [];
  for (let at = 0; at + 4 < flat.length; at += 5) {
    const [id, times, lastAccess, meta, principal] = flat.slice(at, at + 5);
    entries.push((group) => sessionHead({ id, group }, times, lastAccess, meta, principal ?? undefined));
  }
  return { entries, expired: idsOf(expired) };
}

function idsOf(joined: unknown): readonly string[] {
  return typeof joined === 'string' && joined !== '' ? joined.split(' ') : [];
}

function nonsense(script: string, reply: unknown): TypeError {
  return new TypeError(`${script} answered ${JSON.stringify(reply)}`);
}
