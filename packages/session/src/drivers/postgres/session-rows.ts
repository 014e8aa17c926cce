import type {
  CreateOutcome,
  ReplaceOutcome,
  SaveOutcome,
  SessionHead,
  SessionRecord,
  StoredAttribute,
  Swept,
} from '../../session-store.js';
import { withNul } from './nul-free-text.js';

/** What the database answers to the making of a session. JSON as text: a client may have a parser of its own for it. */
export interface MadeRow {
  readonly outcome: string;
  readonly record: string | null;
  readonly evicted: string | null;
  readonly expired: string | null;
}

export interface SavedRow {
  readonly outcome: string;
  readonly version: string | null;
  readonly revisions: string | null;
}

type KeptHead = Omit<SessionHead, 'principal'> & { readonly principal: string | null };

type KeptRecord = readonly [
  head: KeptHead,
  version: number,
  attributes: readonly (readonly [name: string, text: string, revision: number])[],
  readAt: number,
];

export function readCreated(row: MadeRow | undefined): CreateOutcome {
  switch (row?.outcome) {
    case 'created':
      return { outcome: 'created', record: readRecord(row.record ?? ''), ...readSwept(row) };
    case 'refused':
      return { outcome: 'refused' };
    default:
      throw unheardOf('create', row);
  }
}

export function readReplaced(row: MadeRow | undefined): ReplaceOutcome {
  switch (row?.outcome) {
    case 'replaced':
      return { outcome: 'replaced', record: readRecord(row.record ?? ''), ...readSwept(row) };
    case 'renewed':
    case 'refused':
    case 'gone':
      return { outcome: row.outcome };
    default:
      throw unheardOf('replace', row);
  }
}

export function readSaved(row: SavedRow | undefined): SaveOutcome {
  switch (row?.outcome) {
    case 'saved':
      return { outcome: 'saved', version: Number(row.version), revisions: JSON.parse(row.revisions ?? '') as number[] };
    case 'conflict':
    case 'gone':
      return { outcome: row.outcome };
    default:
      throw unheardOf('save', row);
  }
}

export function readRecord(text: string): SessionRecord {
  const [head, version, kept, readAt] = JSON.parse(text) as KeptRecord;
  const attributes = new Map<string, StoredAttribute>();
  for (const [name, value, revision] of kept) attributes.set(withNul(name), { text: withNul(value), revision });
  return { ...headOf(head), version, attributes, readAt };
}

export function readHeads(text: string): SessionHead[] {
  return (JSON.parse(text) as KeptHead[]).map(headOf);
}

export function readIds(text: string | null): string[] {
  return text === null ? [] : (JSON.parse(text) as string[]);
}

function readSwept({ evicted, expired }: MadeRow): Swept {
  return { evicted: readIds(evicted), expired: readIds(expired) };
}

function headOf(head: KeptHead): SessionHead {
  const { principal, meta } = head;
  return { ...head, principal: principal === null ? undefined : withNul(principal), meta: withNul(meta) };
}

function unheardOf(step: string, row: { readonly outcome: string } | undefined): TypeError {
  return new TypeError(`The database answered a ${step} with ${JSON.stringify(row?.outcome)}`);
}
