import { randomBytes } from 'node:crypto';
import type { Keyring } from '@lockstep/core';
import type { TokenFor } from './token-for.js';

const SIGNED_FOR = 'idempotency-token';
const NONCE_BYTES = 16;
const LONGEST_TOKEN = 128;
const TOKEN = /^v1\.([0-9a-z]{1,11})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{1,32}\.[A-Za-z0-9_-]{43})$/;

/** A signed token that was made here, or by whoever has the key. */
export interface StatelessToken {
  /** What the token is known by. Without the signature: another key's signature would make it another operation. */
  readonly key: string;
  /** Milliseconds of life that are left; not positive once it has expired. */
  readonly leftMs: number;
}

/**
 * Tokens that prove by themselves that they were issued: `v1.<end>.<nonce>.<key id>.<mac>`, the end as base-36 epoch
 * milliseconds, the MAC over scope and purpose as well, so that nobody else and no other form can use one.
 */
export class StatelessTokens {
  constructor(
    private readonly keyring: Keyring,
    /** Epoch milliseconds: the end is read by other processes, whose clocks have only the calendar in common. */
    private readonly nowMs: () => number = Date.now,
  ) {}

  issue(whose: TokenFor, ttlMs: number): string {
    const key = `${Math.ceil(this.nowMs() + ttlMs).toString(36)}.${randomBytes(NONCE_BYTES).toString('base64url')}`;
    return `v1.${key}.${this.keyring.sign(SIGNED_FOR, signedText(whose, key))}`;
  }

  /** Undefined for everything that was not issued for this purpose and scope by one of the keys. */
  read(token: string, whose: TokenFor): StatelessToken | undefined {
    if (typeof token !== 'string' || token.length > LONGEST_TOKEN) return undefined;
    const [, end, nonce, signature] = TOKEN.exec(token) ?? [];
    if (end === undefined || signature === undefined) return undefined;
    const key = `${end}.${nonce}`;
    if (!this.keyring.verify(SIGNED_FOR, signedText(whose, key), signature)) return undefined;
    return { key, leftMs: Number.parseInt(end, 36) - this.nowMs() };
  }
}

function signedText({ purpose, scope }: TokenFor, key: string): string {
  return `${purpose.length}:${purpose}${scope.length}:${scope}${key}`;
}
