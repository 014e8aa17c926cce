import { randomUUID } from 'node:crypto';
import type { BeginRequest } from '@lockstep/idempotency';

export const LONG_MS = 60_000;

export function request(change: Partial<BeginRequest> = {}): BeginRequest {
  return {
    id: randomUUID(),
    fingerprint: 'fp',
    owner: randomUUID(),
    operation: 'POST /orders',
    leaseMs: LONG_MS,
    retentionMs: LONG_MS,
    onLeaseExpiry: 'uncertain',
    applyWithinMs: 5_000,
    ...change,
  };
}
