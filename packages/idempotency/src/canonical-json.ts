/** Levels that are written recursively: far fewer than any stack has. */
const SHALLOW = 32;

/** Text that goes out as it is. */
class Raw {
  constructor(readonly text: string) {}
}

/** Leaves an object again: it is no ancestor of what follows. */
class Leave {
  constructor(readonly object: object) {}
}

/**
 * JSON with sorted keys and no spaces, so that equal payloads give equal text whatever the order in which a client
 * wrote them (numbers and strings as in RFC 8785). Bytes and bigints, which JSON has no word for, are told from text and
 * numbers; of class instances their enumerable fields count. Not recursive: a request may be nested deeper
 * than the stack is.
 *
 * @throws TypeError on a value that contains itself, and on what JSON would silently leave out or empty: two payloads
 * that differ in it would pass for one
 */
export function canonicalJson(value: unknown): string {
  return plainJson(value, SHALLOW) ?? deepJson(value);
}

/** Nearly every payload is plain data of a few levels, and is written here in a quarter of the time. */
function plainJson(value: unknown, levels: number): string | undefined {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value === null || value === undefined || typeof value === 'boolean') return String(value ?? null);
  if (typeof value === 'number') return Number.isFinite(value) ? String(value === 0 ? 0 : value) : undefined;
  if (typeof value !== 'object' || levels === 0) return undefined;
  if (Array.isArray(value)) return plainArray(value, levels);
  const prototype: unknown = Object.getPrototypeOf(value);
  if ((prototype !== Object.prototype && prototype !== null) || Symbol.toStringTag in value) return undefined;
  return plainObject(value as Readonly<Record<string, unknown>>, levels);
}

function plainArray(array: readonly unknown[], levels: number): string | undefined {
  let text = '';
  for (let index = 0; index < array.length; index += 1) {
    const item = plainJson(array[index], levels - 1);
    if (item === undefined) return undefined;
    text += index === 0 ? item : `,${item}`;
  }
  return `[${text}]`;
}

function plainObject(object: Readonly<Record<string, unknown>>, levels: number): string | undefined {
  let text = '';
  const keys = Object.keys(object);
  for (const key of keys.length > 1 ? keys.sort() : keys) {
    const value = object[key];
    if (value === undefined) continue;
    const item = plainJson(value, levels - 1);
    if (item === undefined) return undefined;
    text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${item}`;
  }
  return `{${text}}`;
}

function deepJson(value: unknown): string {
  let text = '';
  const ancestors = new Set<object>();
  const stack: unknown[] = [value];
  while (stack.length > 0) {
    const item = stack.pop();
    if (item instanceof Raw) text += item.text;
    else if (item instanceof Leave) ancestors.delete(item.object);
    else if (typeof item !== 'object' || item === null) text += primitive(item);
    else if (item instanceof Uint8Array) text += `b${JSON.stringify(Buffer.from(item).toString('base64'))}`;
    else open(item, ancestors, stack);
  }
  return text;
}

function primitive(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (typeof value === 'function' || typeof value === 'symbol') throw new TypeError(`A ${typeof value} is no data`);
  return JSON.stringify(value) ?? 'null';
}

function open(value: object, ancestors: Set<object>, stack: unknown[]): void {
  if (ancestors.has(value)) throw new TypeError('The payload contains itself');
  const json = 'toJSON' in value && typeof value.toJSON === 'function' ? (value.toJSON() as unknown) : value;
  if (json !== value) {
    stack.push(json);
    return;
  }
  refuseHidden(value);
  ancestors.add(value);
  stack.push(new Leave(value));
  const parts = Array.isArray(value) ? arrayParts(value) : objectParts(value);
  for (let i = parts.length - 1; i >= 0; i -= 1) stack.push(parts[i]);
}

/** Objects whose content is not in their properties, such as a `Map`, `URLSearchParams` or a stream. */
function refuseHidden(value: object): void {
  const tag = Object.prototype.toString.call(value);
  const isStream = 'pipe' in value && typeof value.pipe === 'function';
  if (isStream || (tag !== '[object Object]' && tag !== '[object Array]')) {
    throw new TypeError(`${isStream ? 'A stream' : tag} is no plain data and has no toJSON`);
  }
}

function arrayParts(array: readonly unknown[]): unknown[] {
  const parts: unknown[] = [new Raw('[')];
  for (const [index, item] of array.entries()) {
    if (index > 0) parts.push(new Raw(','));
    parts.push(item);
  }
  parts.push(new Raw(']'));
  return parts;
}

function objectParts(object: object): unknown[] {
  const parts: unknown[] = [];
  const entries = object as Record<string, unknown>;
  for (const key of Object.keys(object).sort()) {
    const value = entries[key];
    if (value === undefined) continue;
    parts.push(new Raw(`${parts.length === 0 ? '{' : ','}${JSON.stringify(key)}:`), value);
  }
  if (parts.length === 0) parts.push(new Raw('{'));
  parts.push(new Raw('}'));
  return parts;
}
