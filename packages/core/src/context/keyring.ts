import { createHmac, timingSafeEqual } from 'node:crypto';
import { ConfigurationError } from '../errors/configuration.error.js';

/** Secrets by key id. New signatures use `current`; the others still verify, so that keys can be rotated. */
export interface KeyringOptions {
  readonly current: string;
  /** Each at least 16 bytes; strings are taken as UTF-8. */
  readonly keys: Readonly<Record<string, string | Uint8Array>>;
}

const MIN_SECRET_BYTES = 16;

/**
 * Signs what passes through other hands. A signature is `<key id>.<HMAC-SHA256, base64url>` over purpose and payload,
 * so that what was signed for one purpose proves nothing for another.
 */
export class Keyring {
  private readonly keys: ReadonlyMap<string, Buffer>;
  private readonly current: Buffer;
  private readonly currentId: string;

  /** @throws ConfigurationError on an unknown current key, an id with a dot, or a short secret */
  constructor(options: KeyringOptions) {
    this.keys = new Map(Object.entries(options.keys).map(([id, secret]) => [checkedId(id), secretBytes(id, secret)]));
    const current = this.keys.get(options.current);
    if (!current) throw ConfigurationError.option('keyring.current', options.current, 'the id of one of keyring.keys');
    this.current = current;
    this.currentId = options.current;
  }

  sign(purpose: string, payload: string): string {
    return `${this.currentId}.${mac(this.current, purpose, payload).toString('base64url')}`;
  }

  /** Whether `signature` was made by one of the keys; false for anything malformed. Takes constant time per key. */
  verify(purpose: string, payload: string, signature: string): boolean {
    const dot = signature.indexOf('.');
    const secret = this.keys.get(signature.slice(0, Math.max(dot, 0)));
    if (!secret) return false;
    const given = Buffer.from(signature.slice(dot + 1), 'base64url');
    const expected = mac(secret, purpose, payload);
    return given.length === expected.length && timingSafeEqual(given, expected);
  }
}

function mac(secret: Buffer, purpose: string, payload: string): Buffer {
  return createHmac('sha256', secret).update(`${purpose.length}:${purpose}`).update(payload).digest();
}

function checkedId(id: string): string {
  if (!/^[A-Za-z0-9_-]{1,32}$/.test(id)) {
    throw ConfigurationError.option('keyring.keys', id, 'ids of 1 to 32 letters, digits, - and _');
  }
  return id;
}

function secretBytes(id: string, secret: string | Uint8Array): Buffer {
  const bytes = Buffer.from(secret as Uint8Array);
  if (bytes.length < MIN_SECRET_BYTES) {
    throw new ConfigurationError(`Option 'keyring.keys.${id}' has ${bytes.length} bytes; at least 16 are needed.`);
  }
  return bytes;
}
