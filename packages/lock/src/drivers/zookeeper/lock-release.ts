import { monotonicMs } from '@lockstep/core';
import type { ReleaseOutcome, ReleaseRequest } from '../../lock-store.js';
import type { HeldLock } from './held-lock.js';
import type { AcquisitionHost } from './lock-acquisition.js';
import type { LockClaim } from './lock-recipe.js';
import { unavailable, within } from './within.js';
import { codeOf, ZK } from './zookeeper-connection.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

const OPERATION = 'lock.release';

/** Gives a lock back, or takes it away from whoever else has it. Never rejects. */
export function releaseLock(host: AcquisitionHost, request: ReleaseRequest): Promise<ReleaseOutcome> {
  const held = host.held.get(request);
  return held ? releaseHeld(host, held) : takeAway(host, request);
}

async function takeAway(host: AcquisitionHost, { key, token }: ReleaseRequest): Promise<ReleaseOutcome> {
  const claim: LockClaim = { key, token, capacity: 1, path: undefined };
  const until = monotonicMs() + host.commandTimeoutMs;
  host.recipe.begin(claim);
  try {
    const session = await host.sessions.live(until, OPERATION);
    const isRemoved = await within(until, findAndRemove(host, session, claim));
    return { status: isRemoved ? 'released' : 'not-held' };
  } catch (cause) {
    return { status: 'failed', error: unavailable(OPERATION, cause) };
  } finally {
    host.recipe.finish(claim, undefined);
  }
}

async function findAndRemove(host: AcquisitionHost, session: ZooKeeperSession, claim: LockClaim): Promise<boolean> {
  await session.confirm(); // a follower may lag behind what the caller was told already
  claim.path = await host.recipe.find(session, claim);
  return claim.path !== undefined && host.recipe.remove(session, claim);
}

async function releaseHeld(host: AcquisitionHost, held: HeldLock): Promise<ReleaseOutcome> {
  const { claim, session } = held;
  host.held.delete(held);
  if (session.isEnded) {
    host.recipe.finish(claim, session);
    return { status: 'not-held' };
  }
  const until = monotonicMs() + host.commandTimeoutMs;
  for (let wasSent = false; ; wasSent = true) {
    const removed = host.recipe.remove(session, claim);
    try {
      const isRemoved = await within(until, removed);
      host.recipe.finish(claim, session);
      // Gone at the second attempt: it was the first that removed it.
      return { status: isRemoved || wasSent ? 'released' : 'not-held' };
    } catch (cause) {
      if (codeOf(cause) === ZK.connectionLoss && monotonicMs() < until) continue;
      host.abandoned.add(session, claim, removed);
      return { status: 'failed', error: unavailable(OPERATION, cause) };
    }
  }
}
