import type { StoredAttribute } from '../../session-store.js';

/** A session as it lies in its cookie. Times are epoch milliseconds of the process that sealed it. */
export interface SealedContent {
  readonly id: string;
  readonly createdAt: number;
  readonly issuedAt: number;
  readonly lastAccessAt: number;
  readonly expiresAt: number;
  readonly idleMs: number;
  /** As login wrote it. */
  readonly principal: string | undefined;
  /** The user's revocation epoch at the login. */
  readonly epoch: number;
  readonly version: number;
  readonly attributes: ReadonlyMap<string, StoredAttribute>;
}

type Head = [
  id: string,
  createdAt: number,
  issuedAt: number,
  lastAccessAt: number,
  expiresAt: number,
  idleMs: number,
  principal: string | null,
  epoch: number,
  version: number,
  attributes: (readonly [name: string, revision: number, length: number])[],
];

/** A line of JSON, and behind it the attributes as they are: JSON within JSON would cost a byte for each quote. */
export function encodeContent(content: SealedContent): string {
  const { id, createdAt, issuedAt, lastAccessAt, expiresAt, idleMs, principal, epoch, version } = content;
  const attributes = [...content.attributes];
  const head: Head = [
    id,
    createdAt,
    issuedAt,
    lastAccessAt,
    expiresAt,
    idleMs,
    principal ?? null,
    epoch,
    version,
    attributes.map(([name, { revision, text }]) => [name, revision, text.length]),
  ];
  return `${JSON.stringify(head)}\n${attributes.map(([, { text }]) => text).join('')}`;
}

/** @param text was made by {@link encodeContent}: its seal was whole */
export function decodeContent(text: string): SealedContent {
  const line = text.indexOf('\n');
  const [id, createdAt, issuedAt, lastAccessAt, expiresAt, idleMs, principal, epoch, version, index] = JSON.parse(
    text.slice(0, line),
  ) as Head;
  const attributes = new Map<string, StoredAttribute>();
  let at = line + 1;
  for (const [name, revision, length] of index) {
    attributes.set(name, { text: text.slice(at, at + length), revision });
    at += length;
  }
  return {
    id,
    createdAt,
    issuedAt,
    lastAccessAt,
    expiresAt,
    idleMs,
    principal: principal ?? undefined,
    epoch,
    version,
    attributes,
  };
}
