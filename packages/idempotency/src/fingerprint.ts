import { createHmac, type KeyObject } from 'node:crypto';
import { canonicalJson } from './canonical-json.js';

/**
 * Digest by which a repetition is told from another payload: HMAC-SHA256, so that whoever reads the store cannot find
 * out small payloads (an amount, a name) by trying.
 */
export function fingerprint(secret: KeyObject, payload: unknown): string {
  return createHmac('sha256', secret).update(canonicalJson(payload)).digest('base64url');
}
