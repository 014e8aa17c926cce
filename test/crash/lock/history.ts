import type { Note } from './journal.js';

/** What one holder believed. Times in milliseconds of the clock of the machine. */
export interface Hold {
  readonly id: string;
  readonly key: string;
  readonly fence: bigint;
  readonly askedAt: number;
  readonly grantedAt: number;
  /** Its deadline, after the last extension. */
  deadline: number;
  /** When it gave the lock back, learned of its loss, or was killed; Infinity while nothing of it is known. */
  endedAt: number;
  /** Latest time at which `isHeld()` was true. */
  sureAt: number;
}

/** The key was deleted, or the server lost its data, between two times. */
export interface DataLoss {
  /** Undefined: all of them. */
  readonly key: string | undefined;
  readonly from: number;
  readonly to: number;
  /** Nothing else has struck around it, so that the next heartbeat must have told of it. */
  isCalm: boolean;
}

export interface HistoryBounds {
  readonly ttlMs: number;
  /** A heartbeat is sent at a third of the lease; this much later its answer must have been heard. */
  readonly answerMs: number;
}

/** The holds of one process. @param killedAt before the signal was sent */
export function holdsOf(notes: readonly Note[], killedAt = Number.POSITIVE_INFINITY): Hold[] {
  const holds = new Map<string, Hold>();
  for (const note of notes) {
    if (note.type === 'granted') {
      const { hold: id, key, fence, askedAt, at: grantedAt, until: deadline } = note;
      const hold = {
        id,
        key,
        fence: BigInt(fence),
        askedAt,
        grantedAt,
        deadline,
        endedAt: killedAt,
        sureAt: grantedAt,
      };
      holds.set(id, hold);
    }
    const hold = 'hold' in note ? holds.get(note.hold) : undefined;
    if (!hold) continue;
    if (note.type === 'extended') hold.deadline = Math.max(hold.deadline, note.until);
    else if (note.type === 'ended') hold.endedAt = Math.min(hold.endedAt, note.at);
    else if (note.type === 'sure') hold.sureAt = Math.max(hold.sureAt, note.at);
  }
  return [...holds.values()];
}

/** The end of the holder's belief, by its own clock. */
export function believedUntil(hold: Hold): number {
  return Math.min(hold.deadline, hold.endedAt);
}

/** Every sentence that comes back is a broken promise. @param losses of the same servers and times */
export function checkHistory(holds: readonly Hold[], losses: readonly DataLoss[], bounds: HistoryBounds): string[] {
  const keys = new Set(holds.map(({ key }) => key));
  return [
    ...holds.flatMap(checkCertainty),
    ...[...keys].flatMap((key) => {
      const ofKey = holds.filter((hold) => hold.key === key).sort((one, other) => one.grantedAt - other.grantedAt);
      const own = losses.filter((loss) => loss.key === undefined || loss.key === key);
      return [...checkPairs(ofKey, own, bounds), ...own.flatMap((loss) => checkTelling(ofKey, loss, bounds))];
    }),
  ];
}

function checkCertainty(hold: Hold): string[] {
  return hold.sureAt <= hold.deadline ? [] : [`${nameOf(hold)} was sure of its lock after its deadline`];
}

function checkPairs(ordered: readonly Hold[], losses: readonly DataLoss[], bounds: HistoryBounds): string[] {
  return ordered.flatMap((first, index) =>
    ordered
      .slice(index + 1)
      .flatMap((second) => [...checkFences(first, second, losses), ...checkOverlap(first, second, losses, bounds)]),
  );
}

/**
 * Without a loss of data, holders hear of their grants in the order in which they get them. After one, a grant from
 * before it may be heard of later than one from after it.
 */
function checkFences(first: Hold, second: Hold, losses: readonly DataLoss[]): string[] {
  if (first.fence < second.fence) return [];
  const mayBeOlder = (loss: DataLoss): boolean => second.askedAt <= loss.to && first.grantedAt >= loss.from;
  const isExcused = first.fence !== second.fence && second.askedAt < first.grantedAt && losses.some(mayBeOlder);
  return isExcused ? [] : [`${nameOf(second)} was granted after ${nameOf(first)}, and its fence is not greater`];
}

/** Two may believe at once only when data were lost between their grants, and no longer than the older one's lease. */
function checkOverlap(first: Hold, second: Hold, losses: readonly DataLoss[], { ttlMs }: HistoryBounds): string[] {
  const from = second.grantedAt;
  const to = Math.min(believedUntil(first), believedUntil(second));
  if (from >= to) return [];
  const [older, newer] = first.fence < second.fence ? [first, second] : [second, first];
  const isExcused = losses.some(
    (loss) => older.askedAt <= loss.to && newer.grantedAt >= loss.from && to <= loss.to + ttlMs,
  );
  const lastedMs = (to - from).toFixed(1);
  return isExcused ? [] : [`${nameOf(first)} and ${nameOf(second)} both held ${first.key} for ${lastedMs} ms`];
}

/** A holder from before the loss knows of it when its lease ends, and in calm after its next heartbeat. */
function checkTelling(holds: readonly Hold[], loss: DataLoss, { ttlMs, answerMs }: HistoryBounds): string[] {
  const latest = loss.to + (loss.isCalm ? ttlMs / 3 + answerMs : ttlMs);
  return holds
    .filter((hold) => hold.grantedAt < loss.from && believedUntil(hold) > latest)
    .map(
      (hold) => `${nameOf(hold)} believed for ${(believedUntil(hold) - loss.to).toFixed(1)} ms after a loss of data`,
    );
}

function nameOf({ id, fence }: Hold): string {
  return `${id} (fence ${fence})`;
}
