import { createHmac, createSecretKey, hkdfSync, type KeyObject, timingSafeEqual } from 'node:crypto';
import { ConfigurationError } from '../errors/configuration.error.js';

/** Secrets by key id. New signatures use `current`; the others still verify, so that keys can be rotated. */
export interface KeyringOptions {
  readonly current: string;
  /** Each at least 16 bytes; strings are taken as UTF-8. */
  readonly keys: Readonly<Record<string, string | Uint8Array>>;
}

/** Keys for one purpose, one of each secret; see {@link Keyring.derive}. */
export interface DerivedKeys {
  /** The id of the one for what is new. */
  readonly currentId: string;
  /** Undefined for an id that the keyring does not have. */
  find(id: string): KeyObject | undefined;
}

const MIN_SECRET_BYTES = 16;
const DERIVED_BYTES = 32;

/**
 * Signs what passes through other hands. A signature is `<key id>.<HMAC-SHA256, base64url>` over purpose and payload,
 * so that what was signed for one purpose proves nothing for another. It proves who signed, not when nor for whom: a
 * payload that must not be repeated elsewhere has to say so itself.
 *
 * Rotation: add the new key everywhere, then make it `current`, and take the old one out once nothing that it signed
 * is under way.
 */
export class Keyring {
  // Private to the language, so that no log of an object that holds a keyring shows the secrets.
  readonly #keys: ReadonlyMap<string, Buffer>;
  readonly #current: Buffer;
  readonly #currentId: string;

  /** @throws ConfigurationError on an unknown current key, an id that is none, or a missing or short secret */
  constructor(options: KeyringOptions) {
    const secrets = Object.entries(options.keys ?? {});
    this.#keys = new Map(secrets.map(([id, secret]) => [checkedId(id), secretBytes(id, secret)]));
    const current = this.#keys.get(options.current);
    if (!current) throw ConfigurationError.option('keyring.current', options.current, 'the id of one of keyring.keys');
    this.#current = current;
    this.#currentId = options.current;
  }

  sign(purpose: string, payload: string): string {
    return `${this.#currentId}.${mac(this.#current, purpose, payload)}`;
  }

  /**
   * Whether `signature` was made by one of the keys; false for anything malformed. The comparison takes the same time
   * wherever the first difference is.
   */
  verify(purpose: string, payload: string, signature: string): boolean {
    const dot = signature.indexOf('.');
    const secret = this.#keys.get(signature.slice(0, Math.max(dot, 0)));
    if (!secret) return false;
    // The text is compared, not what it decodes to: base64 has several spellings of the same bytes.
    const given = Buffer.from(signature.slice(dot + 1));
    const expected = Buffer.from(mac(secret, purpose, payload));
    return given.length === expected.length && timingSafeEqual(given, expected);
  }

  /**
   * 256-bit keys for one purpose, for formats that need a key of their own, such as AES-GCM: HKDF-SHA256 of each secret
   * with the purpose as its info. Neither another purpose's key nor the secret can be told from one. Derived once, so
   * keep what is returned.
   */
  derive(purpose: string): DerivedKeys {
    const derived = new Map<string, KeyObject>();
    for (const [id, secret] of this.#keys) {
      derived.set(id, createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', purpose, DERIVED_BYTES))));
    }
    return { currentId: this.#currentId, find: (id) => derived.get(id) };
  }
}

function mac(secret: Buffer, purpose: string, payload: string): string {
  return createHmac('sha256', secret).update(`${purpose.length}:${purpose}`).update(payload).digest('base64url');
}

function checkedId(id: string): string {
  if (!/^[A-Za-z0-9_-]{1,32}$/.test(id)) {
    throw ConfigurationError.option('keyring.keys', id, 'ids of 1 to 32 letters, digits, - and _');
  }
  return id;
}

/** The messages tell the length at most: a secret that is nearly right must not end up in a log. */
function secretBytes(id: string, secret: unknown): Buffer {
  if (typeof secret !== 'string' && !(secret instanceof Uint8Array)) {
    throw new ConfigurationError(`Option 'keyring.keys.${id}' is ${typeof secret}; expected a string or bytes.`);
  }
  const bytes = typeof secret === 'string' ? Buffer.from(secret) : Buffer.from(secret);
  if (bytes.length < MIN_SECRET_BYTES) {
    throw new ConfigurationError(
      `Option 'keyring.keys.${id}' has ${bytes.length} bytes; expected at least ${MIN_SECRET_BYTES}.`,
    );
  }
  return bytes;
}
