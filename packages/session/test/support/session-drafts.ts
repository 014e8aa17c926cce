import { randomBytes } from 'node:crypto';
import type { SaveRequest, SessionDraft, SessionKey } from '@lockstep/session';

export const HOUR_MS = 3_600_000;

export function newGroup(): string {
  return `u${randomBytes(16).toString('base64url')}`;
}

export function newKey(group = newGroup()): SessionKey {
  return { id: randomBytes(32).toString('base64url'), group };
}

/** The name of a save. */
export function anySave(): string {
  return randomBytes(12).toString('base64url');
}

/** Of nobody. */
export function visitorDraft(change: Partial<SessionDraft> = {}): SessionDraft {
  return { key: newKey(), idleMs: HOUR_MS, absoluteMs: 12 * HOUR_MS, principal: undefined, meta: '{}', ...change };
}

/** Of somebody, whose sessions the group names. */
export function userDraft(group = newGroup(), change: Partial<SessionDraft> = {}): SessionDraft {
  return visitorDraft({ key: newKey(group), principal: '{"id":"anna"}', ...change });
}

export function saveOf(key: SessionKey, set: Readonly<Record<string, string>>): SaveRequest {
  return { key, set: new Map(Object.entries(set)), remove: [], save: anySave() };
}
