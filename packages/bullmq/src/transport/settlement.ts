import type { Delivery } from '@lockstep/outbox';
import type { Verdict } from './hand-over.js';
import type { Letter, Luggage } from './letter.js';

/** What BullMQ knows about the runs of a job before this one. */
export interface JobHistory {
  /** Runs that ended with a failure. */
  readonly failures: number;
  /** Runs during which the process died or was silent for too long. The job need not have been at work in them. */
  readonly stalls: number;
}

export interface FollowUp extends Luggage {
  readonly delayMs: number;
}

/** What becomes of a job after its run: it ends, it comes back as it is, or other jobs take over what is left. */
export type Settlement =
  | { readonly end: 'complete'; readonly followUps: readonly FollowUp[] }
  | { readonly end: 'run-again'; readonly delayMs: number; readonly counts: boolean };

/** Whether one letter alone is handed over in a run, so that the job's history is that letter's. */
function isAlone({ handOver, letters }: Luggage): boolean {
  return handOver !== 'batch' || letters.length === 1;
}

/** The letters to hand over in this run, each with the how-manieth delivery it is. */
export function deliveriesOf(luggage: Luggage, history: JobHistory): Delivery[] {
  const letters = isAlone(luggage) ? luggage.letters.slice(0, 1) : luggage.letters;
  const earlier = history.failures + crashesOf(luggage, history);
  return letters.map(({ message, attempts }) => ({ message, attempt: attempts + earlier + 1 }));
}

/** Whether the letter of this run may have killed a process, so that its tries have to be written down beforehand. */
export function isSuspect(luggage: Luggage, history: JobHistory): boolean {
  return history.stalls > 0 && isAlone(luggage);
}

/** The luggage as it must be stored before a suspect is tried. */
export function withTry(luggage: Luggage, history: JobHistory): Luggage {
  return { ...luggage, suspicion: { crashes: crashesOf(luggage, history), triedAt: history.failures } };
}

/** The luggage as it must be stored when a try ended without counting as a failure of the job. */
export function withoutTry(luggage: Luggage, history: JobHistory): Luggage {
  return { ...luggage, suspicion: { crashes: crashesOf(luggage, history), triedAt: undefined } };
}

/** Only tries of a suspect count: whoever else was at work when a process died must not pay for it. */
function crashesOf({ suspicion }: Luggage, { failures }: JobHistory): number {
  if (suspicion === undefined) return 0;
  return suspicion.crashes + (suspicion.triedAt === failures ? 1 : 0);
}

/**
 * The jobs that replace a batch whose process died, before anything of it runs again: every message alone, those of a
 * key one by one in their order.
 */
export function isolate(luggage: Luggage, history: JobHistory): FollowUp[] {
  const letters = luggage.letters.map(({ message, attempts }) => ({ message, attempts: attempts + history.failures }));
  return groupsOfKeys(letters).map((group) => ({ handOver: 'one-by-one', letters: group, delayMs: 0 }));
}

export function needsIsolation(luggage: Luggage, history: JobHistory): boolean {
  return history.stalls > 0 && !isAlone(luggage);
}

export function settle(luggage: Luggage, deliveries: readonly Delivery[], verdicts: readonly Verdict[]): Settlement {
  const handed = verdicts.map((verdict) => verdict.outcome);
  const delayMs = Math.max(0, ...verdicts.map((verdict) => ('delayMs' in verdict ? verdict.delayMs : 0)));
  if (handed.every((outcome) => outcome === 'retry')) return { end: 'run-again', delayMs, counts: true };
  if (handed.every((outcome) => outcome === 'postpone' || outcome === 'waits')) {
    return { end: 'run-again', delayMs, counts: false };
  }
  return { end: 'complete', followUps: followUps(luggage, deliveries, verdicts) };
}

function followUps(luggage: Luggage, deliveries: readonly Delivery[], verdicts: readonly Verdict[]): FollowUp[] {
  const left = deliveries.flatMap(({ message, attempt }, index) => {
    const verdict = verdicts[index];
    if (!verdict || verdict.outcome === 'done' || verdict.outcome === 'dead') return [];
    const counts = verdict.outcome === 'retry';
    const delayMs = verdict.outcome === 'waits' ? undefined : verdict.delayMs;
    return [{ letter: { message, attempts: counts ? attempt : attempt - 1 }, delayMs }];
  });
  const behind = luggage.letters.slice(deliveries.length);
  const rest: FollowUp[] =
    behind.length === 0
      ? []
      : [{ handOver: luggage.handOver === 'one-by-one' ? 'one-by-one' : 'batch', letters: behind, delayMs: 0 }];
  return [...comingBack(left), ...rest];
}

interface LeftOver {
  readonly letter: Letter;
  /** Unknown for those that were not handed over. */
  readonly delayMs: number | undefined;
}

/** A message that failed leaves with the later ones of its key, behind it; what nobody touched stays together. */
function comingBack(left: readonly LeftOver[]): FollowUp[] {
  const failedKeys = new Set(
    left.filter(({ delayMs }) => delayMs !== undefined).map(({ letter }) => letter.message.key),
  );
  const delayOf = new Map(left.map(({ letter, delayMs }) => [letter, delayMs ?? 0]));
  const isTouched = ({ letter, delayMs }: LeftOver): boolean =>
    delayMs !== undefined || (letter.message.key !== undefined && failedKeys.has(letter.message.key));
  const failed = groupsOfKeys(left.filter(isTouched).map(({ letter }) => letter)).map(
    (letters): FollowUp => ({
      handOver: 'head-first',
      letters,
      delayMs: Math.max(...letters.map((letter) => delayOf.get(letter) ?? 0)),
    }),
  );
  const untouched = left.filter((one) => !isTouched(one)).map(({ letter }) => letter);
  return untouched.length === 0 ? failed : [...failed, { handOver: 'batch', letters: untouched, delayMs: 0 }];
}

function groupsOfKeys(letters: readonly Letter[]): Letter[][] {
  const groups: Letter[][] = [];
  const ofKey = new Map<string, Letter[]>();
  for (const letter of letters) {
    const { key } = letter.message;
    const known = key === undefined ? undefined : ofKey.get(key);
    if (known) {
      known.push(letter);
      continue;
    }
    const group = [letter];
    groups.push(group);
    if (key !== undefined) ofKey.set(key, group);
  }
  return groups;
}
