import { randomBytes } from 'node:crypto';
import type { SessionDraft, SessionKey } from '@lockstep/session';

export const HOUR_MS = 3_600_000;

export function anyGroup(): string {
  return `u${randomBytes(16).toString('base64url')}`;
}

export function anyKey(group = anyGroup()): SessionKey {
  return { id: randomBytes(32).toString('base64url'), group };
}

export function anySave(): string {
  return randomBytes(8).toString('base64url');
}

/** Of somebody, who may stay for an hour. */
export function userDraft(group = anyGroup(), change: Partial<SessionDraft> = {}): SessionDraft {
  const times = { idleMs: HOUR_MS, absoluteMs: 12 * HOUR_MS };
  return { key: anyKey(group), ...times, principal: '{"id":"anna"}', meta: '{}', ...change };
}

/** Of nobody. */
export function visitorDraft(change: Partial<SessionDraft> = {}): SessionDraft {
  return userDraft(anyGroup(), { principal: undefined, ...change });
}
