import { decodeAttribute, encodeAttribute } from './codec/attribute-codec.js';
import { SessionMisuseError, SessionTooLargeError } from './session.errors.js';
import type { StoredAttribute } from './session-store.js';

export interface AttributeLimits {
  readonly maxAttributeBytes: number;
  readonly maxBytes: number;
  /** Hears of an attribute that cannot be decoded; it counts as absent. */
  onUndecodable(name: string, cause: unknown): void;
}

export interface AttributeChanges {
  readonly set: ReadonlyMap<string, string>;
  readonly remove: readonly string[];
}

interface Decoded {
  readonly value: unknown;
  /** As it was when it was read or set: a value that was changed in place has another by now. */
  readonly text: string;
}

/** Names that mean something to objects, and would to the object that frameworks are given. */
const RESERVED = new Set(['__proto__', 'constructor', 'prototype', 'cookie']);
const LONGEST_NAME = 128;
/** So that text of a store, a log line and a header can hold it. */
const NAME = /^[^\p{Cc}\p{Surrogate}]+$/u;

/** What a request sees of the attributes: those that were loaded, below those that it has changed and not saved. */
export class SessionAttributes {
  private readonly decoded = new Map<string, Decoded>();
  private readonly changed = new Map<string, Decoded | undefined>();
  /** Under way to the store, which may have them by now. */
  private sent: ReadonlyMap<string, string> | undefined;
  /** Of all that is stored; counted once, for each answer asks several times. */
  private storedBytes: number | undefined;

  constructor(
    private base: ReadonlyMap<string, StoredAttribute>,
    private readonly limits: AttributeLimits,
  ) {}

  names(): string[] {
    const names = [...this.base.keys()].filter((name) => !this.changed.has(name) && this.decode(name));
    for (const [name, change] of this.changed) if (change) names.push(name);
    return names;
  }

  has(name: string): boolean {
    return (this.changed.has(name) ? this.changed.get(name) : this.decode(name)) !== undefined;
  }

  get(name: string): unknown {
    return (this.changed.has(name) ? this.changed.get(name) : this.decode(name))?.value;
  }

  /** Whether all that is stored can be decoded. */
  isWhole(): boolean {
    return [...this.base.keys()].every((name) => this.decode(name));
  }

  /** A value of its own, that nobody else can change in place. */
  fresh(name: string): unknown {
    const known = this.decode(name);
    return known && decodeAttribute(this.base.get(name)?.text ?? known.text);
  }

  revision(name: string): number {
    return this.base.get(name)?.revision ?? 0;
  }

  set(name: string, value: unknown): void {
    checkName(name);
    if (value === undefined) {
      this.delete(name);
      return;
    }
    this.changed.set(name, { value, text: this.encode(name, value) });
  }

  delete(name: string): void {
    if (this.base.has(name) || this.sent?.has(name)) this.changed.set(name, undefined);
    else this.changed.delete(name);
  }

  /** @throws SessionTooLargeError */
  encode(name: string, value: unknown): string {
    const text = encodeAttribute(name, value);
    const bytes = Buffer.byteLength(text);
    if (bytes > this.limits.maxAttributeBytes) {
      throw new SessionTooLargeError('attribute', bytes, this.limits.maxAttributeBytes);
    }
    return text;
  }

  /** What is not saved yet, values that were changed in place among it. */
  changes(): AttributeChanges {
    const set = new Map<string, string>();
    const remove: string[] = [];
    for (const [name, change] of this.changed) {
      if (!change) remove.push(name);
      else set.set(name, isMutable(change.value) ? this.encode(name, change.value) : change.text);
    }
    for (const [name, { value, text }] of this.decoded) {
      if (this.changed.has(name) || !isMutable(value)) continue;
      const now = this.encode(name, value);
      if (now !== text) set.set(name, now);
    }
    const changes = { set, remove };
    this.checkSize(changes);
    return changes;
  }

  /** Those changes leave for the store: {@link settle} or {@link rebase} follows if it took them. */
  send(changes: AttributeChanges): AttributeChanges {
    this.sent = changes.set;
    return changes;
  }

  /** Those changes are saved, and `base` is what is stored now. What was changed since then stays. */
  settle({ set, remove }: AttributeChanges, base: ReadonlyMap<string, StoredAttribute>): void {
    for (const [name, text] of set) {
      const isChanged = this.changed.has(name);
      const known = isChanged ? this.changed.get(name) : this.decoded.get(name);
      if (!known || (isChanged && this.textNow(name, known) !== text)) continue;
      this.changed.delete(name);
      this.decoded.set(name, { value: known.value, text });
    }
    for (const name of remove) {
      if (this.changed.get(name) === undefined) this.changed.delete(name);
      this.decoded.delete(name);
    }
    this.rebase(base);
  }

  /** What is stored has changed; what is not saved stays. */
  rebase(base: ReadonlyMap<string, StoredAttribute>): void {
    for (const name of this.decoded.keys()) {
      if (
        this.base.get(name)?.revision !== base.get(name)?.revision &&
        this.decoded.get(name)?.text !== base.get(name)?.text
      ) {
        this.decoded.delete(name);
      }
    }
    if (base !== this.base) this.storedBytes = undefined;
    this.base = base;
  }

  /** @throws SessionTooLargeError where all of them together would be too large with those changes */
  checkSize({ set, remove }: AttributeChanges): void {
    if (set.size === 0) return;
    this.storedBytes ??= [...this.base].reduce((sum, [name, { text }]) => sum + bytesOf(name, text), 0);
    let bytes = this.storedBytes;
    for (const name of [...set.keys(), ...remove]) {
      const stored = this.base.get(name);
      if (stored) bytes -= bytesOf(name, stored.text);
    }
    for (const [name, text] of set) bytes += bytesOf(name, text);
    if (bytes > this.limits.maxBytes) throw new SessionTooLargeError('session', bytes, this.limits.maxBytes);
  }

  private textNow(name: string, { value, text }: Decoded): string {
    return isMutable(value) ? encodeAttribute(name, value) : text;
  }

  private decode(name: string): Decoded | undefined {
    const known = this.decoded.get(name);
    if (known) return known;
    const stored = this.base.get(name);
    if (!stored) return undefined;
    try {
      const decoded = { value: decodeAttribute(stored.text), text: stored.text };
      this.decoded.set(name, decoded);
      return decoded;
    } catch (cause) {
      this.limits.onUndecodable(name, cause);
      return undefined;
    }
  }
}

function bytesOf(name: string, text: string): number {
  return Buffer.byteLength(name) + Buffer.byteLength(text);
}

function isMutable(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

/** @throws SessionMisuseError */
export function checkName(name: string): void {
  if (typeof name === 'string' && name.length <= LONGEST_NAME && NAME.test(name) && !RESERVED.has(name)) return;
  throw new SessionMisuseError(
    `A session attribute cannot be named ${JSON.stringify(name)}: 1 to ${LONGEST_NAME} characters, without control ones`,
  );
}
