import type { Seen } from './desk.controller.js';

/** One request of a browser, and what came of it. Times by the shared clock. */
export interface Observation {
  readonly what: 'seen' | 'save' | 'set' | 'count';
  readonly token: string;
  readonly sentAt: number;
  readonly at: number;
  /** 0: no answer. */
  readonly status: number;
  readonly seen: Seen | undefined;
  /** Of `save` and `set`. */
  readonly name?: string;
  readonly value?: number;
}

/** Something that is to end a token: a logout, or a rotation or a login that replaces it. */
export interface End extends Span {
  readonly token: string;
  readonly by: string;
}

/** When something was asked for, and answered; undefined where it was not, so that nobody knows. */
export interface Span {
  readonly sentAt: number;
  readonly at: number | undefined;
}

/** A session from its login to its end, under all the tokens that it had. */
export interface Visit {
  readonly user: string;
  readonly observations: readonly Observation[];
  /** By token: the login or rotation that gave it out. */
  readonly issues: ReadonlyMap<string, Span>;
  readonly ends: readonly End[];
  /** Of all sessions of the user, by any of his devices. */
  readonly revocations: readonly Span[];
}

/**
 * What is wrong with a visit: a token that serves after its end, a session that is away though nobody ended it, an
 * attribute that is older than what was answered or newer than what was sent, an update that counts twice or not at all.
 */
export function checkVisit(visit: Visit): string[] {
  return visit.observations.flatMap((observation) => checkObservation(visit, observation));
}

function checkObservation(visit: Visit, { token, status, seen, sentAt, at }: Observation): string[] {
  if (status < 200 || status > 299 || !seen) return [];
  const ends = visit.ends.filter((end) => end.token === token);
  if (seen.principal === null) {
    if (mayHaveEnded(visit, token, at)) return [];
    return [`${visit.user}: the session was away at ${Math.round(at)}, and nobody had ended it`];
  }
  const problems: string[] = [];
  if (seen.principal !== visit.user) problems.push(`${visit.user}: it was ${seen.principal}'s`);
  const over = [...ends, ...revocationsAfter(visit, token)].find((end) => end.at !== undefined && end.at < sentAt);
  if (over)
    problems.push(
      `${visit.user}: a token served at ${Math.round(at)} after ${'by' in over ? over.by : 'revocation'} was answered`,
    );
  return [...problems, ...checkAttributes(visit, seen, sentAt, at)];
}

function checkAttributes(visit: Visit, { attributes }: Seen, sentAt: number, at: number): string[] {
  const problems: string[] = [];
  const names = new Set(visit.observations.flatMap(({ name }) => name ?? []));
  for (const name of names) {
    const writes = visit.observations.filter((one) => one.name === name);
    const value = Number(attributes[name] ?? 0);
    const least = highest(writes.filter((one) => one.at < sentAt && isStored(visit, one)));
    const most = highest(writes.filter((one) => one.sentAt < at));
    if (value < least) problems.push(`${visit.user}: ${name} is ${value}, and ${least} was answered`);
    if (value > most) problems.push(`${visit.user}: ${name} is ${value}, and no more than ${most} was sent`);
  }
  const counts = visit.observations.filter(({ what }) => what === 'count');
  const count = Number(attributes['count'] ?? 0);
  const least = counts.filter((one) => one.at < sentAt && isStored(visit, one)).length;
  const most = counts.filter((one) => one.sentAt < at).length;
  if (count < least) problems.push(`${visit.user}: count is ${count} after ${least} updates that were answered`);
  if (count > most) problems.push(`${visit.user}: count is ${count} after ${most} updates that were sent`);
  return problems;
}

/** Whether it was told that the write is kept: with the answer it may be dropped, where the session was being ended. */
function isStored(visit: Visit, { what, status, seen, token, at }: Observation): boolean {
  if (status < 200 || status > 299 || seen?.principal !== visit.user) return false;
  return what !== 'set' || !mayHaveEnded(visit, token, at);
}

function mayHaveEnded({ ends, issues, revocations }: Visit, token: string, by: number): boolean {
  if (ends.some((end) => end.token === token && end.sentAt < by)) return true;
  const issued = issues.get(token)?.sentAt ?? 0;
  // One that overlaps the login may have come after it.
  return revocations.some(({ sentAt, at = Number.POSITIVE_INFINITY }) => sentAt < by && at > issued);
}

/** Those that must have met the token: it had been given out before they were asked for. */
function revocationsAfter({ issues, revocations }: Visit, token: string): Span[] {
  const issued = issues.get(token)?.at ?? Number.POSITIVE_INFINITY;
  return revocations.filter(({ sentAt }) => issued < sentAt);
}

function highest(writes: readonly Observation[]): number {
  return writes.reduce((most, { value = 0 }) => Math.max(most, value), 0);
}
