import { createHash } from 'node:crypto';

/** A request's place in the queue of a key, as the name of its node tells it: `w-TOKEN-0000000007`. */
export interface LockNode {
  readonly name: string;
  readonly token: string;
  /** As in the request: 1 is exclusive, `Infinity` a reader, another number the permits of a semaphore. */
  readonly capacity: number;
  /** Place in the order of coming, given by ZooKeeper: a signed 32-bit number, which follows its greatest by its least. */
  readonly sequence: number;
}

const LONGEST_SEGMENT = 200;
/** ZooKeeper pads to ten characters, the sign among them. */
const NAME = /^(w|r|p\d+)-(.+?)-(\d{10}|-\d{9}|-[12]\d{9})$/;

/**
 * One path segment for a key of any length and characters, another one for every other key. A dot stands for "shortened"
 * and is in no segment else, so neither `.` nor `..` can come out.
 */
export function segmentOf(key: string): string {
  const whole = escaped(key);
  if (whole.length <= LONGEST_SEGMENT && isWellFormed(key)) return whole;
  const digest = createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('hex');
  return `${whole.slice(0, LONGEST_SEGMENT - digest.length - 1)}.${digest}`;
}

/** What stands before the number that ZooKeeper appends. */
export function nodePrefix(token: string, capacity: number): string {
  return `${kindOf(capacity)}-${escaped(token)}-`;
}

/** Whether a node of this name was made for the token. */
export function isNodeOf(name: string, token: string): boolean {
  return NAME.exec(name)?.[2] === escaped(token);
}

/** The nodes of a key in the order of coming; what is no place in the queue is left out. */
export function queueOf(names: readonly string[]): LockNode[] {
  return names.flatMap((name) => parsed(name) ?? []).sort(byComing);
}

/**
 * What a node waits for: nothing when the lock is its own, else nodes of which one is gone by the time it may have it.
 * Of `capacity` nodes at least one must go before fewer than that are left, so watching these is enough.
 */
export function blockersOf(queue: readonly LockNode[], own: LockNode): readonly LockNode[] {
  const before = queue.filter((node) => byComing(node, own) < 0);
  if (own.capacity === 1) return before.slice(-1);
  const lastWriter = before.findLast(({ capacity }) => capacity === 1);
  if (lastWriter) return [lastWriter];
  return before.length < own.capacity ? [] : before.slice(-own.capacity);
}

/** The difference modulo 2^32: those who are in a queue at one time are never half of all numbers apart. */
function byComing(left: LockNode, right: LockNode): number {
  return (left.sequence - right.sequence) | 0;
}

function parsed(name: string): LockNode | undefined {
  const [, kind, token, sequence] = NAME.exec(name) ?? [];
  if (!kind || !token || !sequence) return undefined;
  return { name, token: unescaped(token), capacity: capacityOf(kind), sequence: Number(sequence) };
}

function kindOf(capacity: number): string {
  if (capacity === 1) return 'w';
  return capacity === Number.POSITIVE_INFINITY ? 'r' : `p${capacity}`;
}

function capacityOf(kind: string): number {
  if (kind === 'w') return 1;
  return kind === 'r' ? Number.POSITIVE_INFINITY : Number(kind.slice(1));
}

function escaped(text: string): string {
  return [...Buffer.from(text)].map(escapedByte).join('');
}

function escapedByte(byte: number): string {
  const character = String.fromCharCode(byte);
  return /[A-Za-z0-9_-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0')}`;
}

function unescaped(text: string): string {
  return decodeURIComponent(text);
}

function isWellFormed(text: string): boolean {
  return Buffer.from(text).toString() === text;
}
