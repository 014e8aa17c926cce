import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { DerivedKeys, Keyring } from '@lockstep/core';

const VERSION = 'c1';
const PURPOSE = 'lockstep-session-sealed';
const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SHAPE = /^c1\.([A-Za-z0-9_-]{1,32})\.([A-Za-z0-9_-]+)$/;

/**
 * Encrypts text for whoever has the keys: `c1.<key id>.<nonce, AES-256-GCM, tag as base64url>`. Version, key id and the
 * name of the cookie are authenticated with it, so that what was sealed for one cookie opens no other.
 *
 * Nonces are 96 random bits: a key is good for 2^32 texts (NIST SP 800-38D, 8.3). Change it before.
 */
export class SealedBox {
  private readonly keys: DerivedKeys;

  constructor(
    keyring: Keyring,
    private readonly name: string,
  ) {
    this.keys = keyring.derive(PURPOSE);
  }

  seal(text: string): string {
    const id = this.keys.currentId;
    const key = this.keys.find(id);
    if (!key) throw new TypeError('A keyring has its current key');
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(this.context(id));
    const sealed = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return `${VERSION}.${id}.${sealed.toString('base64url')}`;
  }

  /** Undefined for everything that was not sealed here, for this cookie, by one of the keys. */
  open(token: string): string | undefined {
    const [, id = '', body = ''] = SHAPE.exec(token) ?? [];
    const key = this.keys.find(id);
    if (!key) return undefined;
    const sealed = Buffer.from(body, 'base64url');
    // Base64 has several spellings of the same bytes; one is ours.
    if (sealed.length < NONCE_BYTES + TAG_BYTES || sealed.toString('base64url') !== body) return undefined;
    const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAAD(this.context(id));
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    const begun = decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES));
    try {
      return Buffer.concat([begun, decipher.final()]).toString('utf8');
    } catch {
      // That is how Node says that the tag does not fit: somebody else made it, which is the caller's answer.
      return undefined;
    }
  }

  private context(id: string): Buffer {
    return Buffer.from(`${VERSION}.${id}.${this.name}`);
  }
}
