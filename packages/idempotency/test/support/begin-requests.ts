import { randomBytes } from 'node:crypto';
import type { BeginRequest } from '@lockstep/idempotency';

/** A claim on an operation that nobody has asked for yet, by an owner of its own. */
export function beginRequest(change: Partial<BeginRequest> = {}): BeginRequest {
  return {
    id: randomBytes(32).toString('base64url'),
    fingerprint: 'fp',
    owner: randomBytes(16).toString('hex'),
    operation: 'POST /orders',
    leaseMs: 60_000,
    retentionMs: 3_600_000,
    onLeaseExpiry: 'uncertain',
    applyWithinMs: 60_000,
    ...change,
  };
}
