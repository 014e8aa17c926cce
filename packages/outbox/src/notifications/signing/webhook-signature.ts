import { createHmac, timingSafeEqual } from 'node:crypto';
import { secretKey } from './webhook-secret.js';

/** The headers of Standard Webhooks 1.0.0. */
export const ID_HEADER = 'webhook-id';
export const TIMESTAMP_HEADER = 'webhook-timestamp';
export const SIGNATURE_HEADER = 'webhook-signature';

const VERSION = 'v1,';
const MAX_ID_CHARS = 256;
const MAX_SIGNATURES = 16;
const MAX_SIGNATURE_CHARS = 4_096;
const SECONDS = /^\d{1,12}$/;
/** One that cannot be written into a header, or that would shift the limits between the signed parts, is none. */
const ID = /^[\x21-\x2d\x2f-\x7e]+$/;

export interface SignedParts {
  readonly id: string;
  /** Epoch seconds. */
  readonly timestamp: number;
  readonly body: string | Uint8Array;
}

export type HeaderBag = Readonly<Record<string, string | readonly string[] | undefined>>;

/** What a request says about itself; nothing of it is known to be true yet. */
export interface SignatureClaim {
  readonly id: string;
  readonly timestamp: number;
  readonly signatures: readonly string[];
}

export function isWebhookId(id: unknown): id is string {
  return typeof id === 'string' && id.length <= MAX_ID_CHARS && ID.test(id);
}

/** One signature for each secret, so that a receiver can verify with the old or the new one while secrets rotate. */
export function signedHeaders(parts: SignedParts, secrets: readonly string[]): Record<string, string> {
  return {
    [ID_HEADER]: parts.id,
    [TIMESTAMP_HEADER]: String(parts.timestamp),
    [SIGNATURE_HEADER]: secrets.map((secret) => VERSION + sign(parts, secret).toString('base64')).join(' '),
  };
}

/** Undefined when a header is missing, doubled or malformed. Versions that are not known are passed over. */
export function signatureClaim(headers: HeaderBag): SignatureClaim | undefined {
  const { [ID_HEADER]: id, [TIMESTAMP_HEADER]: seconds, [SIGNATURE_HEADER]: list } = headers;
  if (!isWebhookId(id) || typeof seconds !== 'string' || !SECONDS.test(seconds)) return undefined;
  if (typeof list !== 'string' || list.length > MAX_SIGNATURE_CHARS) return undefined;
  const signatures = list.split(' ').filter((each) => each.startsWith(VERSION));
  if (signatures.length === 0 || signatures.length > MAX_SIGNATURES) return undefined;
  return { id, timestamp: Number(seconds), signatures: signatures.map((each) => each.slice(VERSION.length)) };
}

/** Whether one of the signatures was made with one of the secrets. Takes the same time wherever they differ. */
export function isSignedBy(claim: SignatureClaim, body: string | Uint8Array, secrets: readonly string[]): boolean {
  let isSigned = false;
  for (const secret of secrets) {
    const expected = sign({ id: claim.id, timestamp: claim.timestamp, body }, secret);
    for (const signature of claim.signatures) {
      const given = Buffer.from(signature, 'base64');
      const matches = given.length === expected.length && timingSafeEqual(given, expected);
      isSigned = matches || isSigned;
    }
  }
  return isSigned;
}

/** @param toleranceMs in both directions */
export function isTimely({ timestamp }: SignatureClaim, nowMs: number, toleranceMs: number): boolean {
  return Math.abs(nowMs - timestamp * 1_000) <= toleranceMs;
}

function sign({ id, timestamp, body }: SignedParts, secret: string): Buffer {
  const key = secretKey(secret);
  if (!key) throw new TypeError('a secret is malformed');
  return createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
}
