import type { SessionHead, SessionKey, SessionRecord, StoredAttribute } from '../../session-store.js';

/** A session as a script replies it: fields and values in turn, and the server's clock. */
export interface StoredSession {
  readonly fields: readonly string[];
  readonly readAt: number;
}

const COLON = 58;

/** What is found under a key; undefined where that is no session. */
export function sessionRecord(key: SessionKey, { fields, readAt }: StoredSession): SessionRecord | undefined {
  const attributes = new Map<string, StoredAttribute>();
  const head: Record<string, string> = {};
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const field = fields[index] as string;
    const value = fields[index + 1] as string;
    if (field.charCodeAt(1) === COLON) attributes.set(field.slice(2), storedAttribute(value));
    else head[field] = value;
  }
  const { h, t, v, m, p, i } = head;
  if (h === undefined || t === undefined || m === undefined) return undefined;
  const found = i === undefined || i === key.id ? key : { id: i, group: key.group };
  return { ...sessionHead(found, h, t, m, p), attributes, version: Number(v), readAt };
}

/** @param times created, issued, expires, idle */
export function sessionHead(
  key: SessionKey,
  times: string,
  lastAccess: string,
  meta: string,
  principal: string | undefined,
): SessionHead {
  const [createdAt, issuedAt, expiresAt, idleMs] = times.split(' ');
  return {
    key,
    createdAt: Number(createdAt),
    issuedAt: Number(issuedAt),
    lastAccessAt: Number(lastAccess),
    expiresAt: Number(expiresAt),
    idleMs: Number(idleMs),
    principal,
    meta,
  };
}

/** Attributes as `<revision>:<text>`, to be written elsewhere as they are. */
export function* attributeFields(attributes: ReadonlyMap<string, StoredAttribute>): Iterable<string> {
  for (const [name, { revision, text }] of attributes) {
    yield name;
    yield `${revision}:${text}`;
  }
}

function storedAttribute(value: string): StoredAttribute {
  const colon = value.indexOf(':');
  return { revision: Number(value.slice(0, colon)), text: value.slice(colon + 1) };
}
