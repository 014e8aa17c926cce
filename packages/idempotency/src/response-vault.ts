import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { ConfigurationError } from '@lockstep/core';

/** Keys by id: what is stored names its key, so that a key can be replaced while old answers still need it. */
export interface EncryptionOptions {
  /** Secrets of at least 32 bytes by id (letters, digits, `_` and `-`, at most 32). */
  readonly keys: Readonly<Record<string, string>>;
  /** The id of the key that new answers are encrypted with. */
  readonly current: string;
  /**
   * Whether a stored text that is not encrypted is believed: for as long as answers are kept that were stored before
   * encryption was switched on. Otherwise their repetitions are refused.
   * @default false
   */
  readonly acceptPlain?: boolean;
}

const ALGORITHM = 'aes-256-gcm';
const MARK = 'e1';
const KEY_ID = /^[A-Za-z0-9_-]{1,32}$/;
const MIN_SECRET_BYTES = 32;
const NONCE_BYTES = 12;

/**
 * Encrypts what a store keeps of an operation (AES-256-GCM, a random nonce each), bound to the operation and to what it
 * is, so that whoever can write to the store cannot put one answer in the place of another. Without keys it hands texts
 * through.
 */
export class ResponseVault {
  // Private to the language, so that no log of an object that holds a vault shows the keys.
  readonly #keys = new Map<string, Buffer>();
  readonly #current: string | undefined;
  readonly #acceptsPlain: boolean;

  /** @throws ConfigurationError on an unknown current key, an id that is none, or a short secret */
  constructor(options: EncryptionOptions | undefined) {
    this.#acceptsPlain = options === undefined || options.acceptPlain === true;
    if (options === undefined) return;
    for (const [id, secret] of Object.entries(options.keys ?? {})) this.#keys.set(checkedId(id), keyOf(id, secret));
    this.#current = options.current;
    if (this.#keys.has(options.current)) return;
    throw ConfigurationError.option('encryption.current', options.current, 'the id of one of encryption.keys');
  }

  /** @param purpose what of the operation it is: `answer`, `step:charge` */
  seal(id: string, purpose: string, text: string): string {
    const current = this.#current;
    const key = current === undefined ? undefined : this.#keys.get(current);
    if (key === undefined) return text;
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, key, nonce).setAAD(Buffer.from(`${id}:${purpose}`));
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    const parts = [nonce, cipher.getAuthTag(), sealed].map((part) => part.toString('base64'));
    return [MARK, current, ...parts].join('.');
  }

  /** @throws Error when its key is not there, or it was changed, or belongs to something else */
  open(id: string, purpose: string, stored: string): string {
    if (!stored.startsWith(`${MARK}.`)) {
      if (this.#acceptsPlain) return stored;
      throw new Error('It is not encrypted, and encryption.acceptPlain is not set');
    }
    const [, keyId = '', nonce = '', tag = '', sealed = ''] = stored.split('.');
    const key = this.#keys.get(keyId);
    if (!key) throw new Error(`It was encrypted with the key '${keyId}', which is not among encryption.keys`);
    const decipher = createDecipheriv(ALGORITHM, key, Buffer.from(nonce, 'base64'), { authTagLength: 16 })
      .setAAD(Buffer.from(`${id}:${purpose}`))
      .setAuthTag(Buffer.from(tag, 'base64'));
    return Buffer.concat([decipher.update(Buffer.from(sealed, 'base64')), decipher.final()]).toString('utf8');
  }
}

function checkedId(id: string): string {
  if (KEY_ID.test(id)) return id;
  throw ConfigurationError.option('encryption.keys', id, 'ids of letters, digits, _ and -, at most 32');
}

/** The secret stays out of the message. */
function keyOf(id: string, secret: unknown): Buffer {
  if (typeof secret === 'string' && Buffer.byteLength(secret) >= MIN_SECRET_BYTES) {
    return createHash('sha256').update(`lockstep:idempotency:${secret}`).digest();
  }
  throw new ConfigurationError(`encryption.keys.${id} needs at least ${MIN_SECRET_BYTES} bytes.`);
}
