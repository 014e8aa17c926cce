import { randomUUID } from 'node:crypto';
import { monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { AcquireRequest, Busy, Grant } from '../../lock-store.js';
import type { AcquisitionHost } from './lock-acquisition.js';
import type { AcquireReply } from './lock-scripts.js';
import { inSteps } from './lock-wish.js';

/**
 * Asks for several locks of one hash slot in one command; what follows the first that is busy is not granted.
 *
 * @throws StoreUnavailableError when the answer is lost: all of them are then revoked
 */
export async function acquireChain(
  locks: readonly string[],
  requests: readonly AcquireRequest[],
  host: AcquisitionHost,
): Promise<readonly (Grant | Busy)[]> {
  const { connection, scripts } = host;
  const sentAt = monotonicMs();
  const boundMs = Math.min(connection.serverTimeBoundMs(), connection.commandTimeoutMs);
  const notAfterMs = inSteps(connection.serverTimeMs() + boundMs + connection.commandTimeoutMs);
  const chain = randomUUID();
  const items = requests.map(({ token, ttlMs, capacity, fairness }, index) => ({
    lock: locks[index] ?? '',
    token,
    ttlMs,
    notAfterMs,
    wish: `${Number.isFinite(capacity) ? capacity : 0},${fairness === 'fifo' ? 'f' : 'b'},0,${chain},`,
  }));
  const replies = await Promise.allSettled(scripts.acquire.runTogether(items));
  const failed = replies.find((reply) => reply.status === 'rejected');
  if (failed || replies.some(isLate)) {
    for (const { lock, token, ttlMs } of items) {
      host.revocations.add({ lock, token, notAfterMs, uselessAt: monotonicMs() + connection.commandTimeoutMs + ttlMs });
    }
    if (failed?.status === 'rejected') throw failed.reason;
    const cause = new Error('the request reached the server too late');
    throw new StoreUnavailableError({ store: 'redis', operation: 'lock.acquire', outcome: 'not-applied', cause });
  }
  return outcomes(replies, requests, sentAt);
}

function isLate(reply: PromiseSettledResult<AcquireReply>): boolean {
  return reply.status === 'fulfilled' && reply.value.status === 'late';
}

function outcomes(
  replies: readonly PromiseSettledResult<AcquireReply>[],
  requests: readonly AcquireRequest[],
  sentAt: number,
): (Grant | Busy)[] {
  const prefix: (Grant | Busy)[] = [];
  for (const [index, reply] of replies.entries()) {
    if (reply.status !== 'fulfilled') break;
    const { value } = reply;
    if (value.status === 'granted') {
      prefix.push({ status: 'granted', fence: value.fence, deadline: sentAt + (requests[index]?.ttlMs ?? 0) });
      continue;
    }
    if (value.status === 'busy') prefix.push({ status: 'busy', remainingMs: value.remainingMs });
    break;
  }
  return prefix;
}
