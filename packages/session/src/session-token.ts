import { createHash, randomBytes } from 'node:crypto';
import type { Keyring } from '@lockstep/core';
import type { SessionKey } from './session-store.js';

const VERSION = 's1';
const PURPOSE = 'lockstep-session';
const SHAPE = /^s1\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{1,40})\.([A-Za-z0-9_-]{1,32}\.[A-Za-z0-9_-]{43})$/;
export const LONGEST_TOKEN = 200;
const GROUP_BYTES = 6;

/** A secret id as a client holds it, and the key that it leads to. */
export interface SessionToken {
  readonly token: string;
  readonly key: SessionKey;
}

/**
 * Makes and recognises what clients hold: `s1.<256 random bits>.<group>.<key id>.<HMAC-SHA256>`. Whatever is not signed
 * by one of the keys costs no round trip. Stores see a hash of the random part only, so that nobody who reads them can
 * make a cookie.
 */
export class SessionTokens {
  constructor(private readonly keyring: Keyring) {}

  /** @param group @default a random one, for a session of nobody */
  issue(group = randomBytes(GROUP_BYTES).toString('base64url')): SessionToken {
    const secret = randomBytes(32).toString('base64url');
    const signed = `${VERSION}.${secret}.${group}`;
    return { token: `${signed}.${this.keyring.sign(PURPOSE, signed)}`, key: { id: idOf(secret), group } };
  }

  /** Undefined for anything that was not issued here. */
  recognise(token: string): SessionToken | undefined {
    if (token.length > LONGEST_TOKEN) return undefined;
    const match = SHAPE.exec(token);
    if (!match) return undefined;
    const [, secret = '', group = '', signature = ''] = match;
    if (!this.keyring.verify(PURPOSE, `${VERSION}.${secret}.${group}`, signature)) return undefined;
    return { token, key: { id: idOf(secret), group } };
  }
}

function idOf(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url');
}
