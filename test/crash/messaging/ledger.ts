import { CONSUMERS_OF, type ConsumerName, diesAt, FAST, type Fate, STRICT } from './errand.js';

export interface SentRow {
  readonly tag: string;
  /** Of the round. */
  readonly seed: number;
  readonly topic: string;
  readonly fate: Fate;
  readonly at: ConsumerName;
  readonly key: string | null;
  /** Milliseconds on the database's clock before which it must have no effect. */
  readonly notBefore: number;
  /** Of one whose consumers are to reply. */
  readonly messageId: string | null;
}

/** What happened to one message at one consumer. */
export interface Happening {
  readonly tag: string;
  readonly consumer: string;
}

/** In the order of the transactions that did it, as far as one waits for another. */
export interface EffectRow extends Happening {
  /** Of a strict message. */
  readonly sequence: string | null;
  readonly atMs: number;
}

/** A strict message that was given up, and that the operator let the others pass. */
export interface SkipRow extends Happening {
  readonly sequence: string;
  /** Not later than that. */
  readonly atMs: number;
}

export interface ReplyRow {
  readonly consumer: string;
  readonly messageId: string;
  readonly outcome: string;
}

export interface Books {
  /** What was committed. */
  readonly sent: readonly SentRow[];
  readonly effects: readonly EffectRow[];
  readonly dead: readonly Happening[];
  readonly skips: readonly SkipRow[];
  readonly replies: readonly ReplyRow[];
  readonly pending: number;
  readonly inFlight: number;
}

/** Balances the books when nothing is under way any more: every sentence that comes back is a broken promise. */
export function balance(books: Books, mayHaveLost: (seed: number) => boolean): string[] {
  const known = new Set(books.sent.map(({ tag }) => tag));
  const happened = [...books.effects, ...books.dead, ...books.skips];
  const strays = happened.filter(({ tag }) => !known.has(tag));
  return [
    ...checkMessages(books, mayHaveLost),
    ...strays.map(({ tag, consumer }) => `${tag} reached ${consumer} and was never committed`),
    ...checkDelays(books),
    ...checkReplies(books),
    ...checkSequences(books),
    ...(books.pending > 0 ? [`${books.pending} messages were never relayed`] : []),
    ...(books.inFlight > 0 ? [`${books.inFlight} messages were never acknowledged`] : []),
  ];
}

function checkMessages(books: Books, mayHaveLost: (seed: number) => boolean): string[] {
  const effects = countByMessage(books.effects);
  // One that is skipped is no dead letter any more.
  const dead = countByMessage([...books.dead, ...distinct(books.skips)]);
  return books.sent.flatMap((row) =>
    consumersOf(row).flatMap((consumer) =>
      checkMessage(row, consumer, effects.get(nameOf(row.tag, consumer)) ?? 0, {
        dead: dead.get(nameOf(row.tag, consumer)) ?? 0,
        mayBeLost: row.topic === FAST && mayHaveLost(row.seed),
      }),
    ),
  );
}

interface Circumstances {
  readonly dead: number;
  readonly mayBeLost: boolean;
}

function checkMessage(
  { tag, seed, topic, fate, at }: SentRow,
  consumer: ConsumerName,
  effects: number,
  { dead, mayBeLost }: Circumstances,
): string[] {
  const dies = diesAt(fate, at, consumer);
  const name = `seed ${seed}: ${fate} ${tag} of ${topic} at ${consumer}`;
  const [least, most] = dies ? [0, 0] : [mayBeLost ? 0 : 1, 1];
  const [leastDead, mostDead] = dies ? [mayBeLost ? 0 : 1, 1] : [0, 0];
  return [
    ...(effects < least || effects > most ? [`${name} has ${effects} effects`] : []),
    ...(dead < leastDead || dead > mostDead ? [`${name} has ${dead} dead letters`] : []),
  ];
}

function checkDelays({ sent, effects }: Books): string[] {
  const rows = new Map(sent.map((row) => [row.tag, row]));
  return effects.flatMap(({ tag, consumer, atMs }) => {
    const earlyMs = (rows.get(tag)?.notBefore ?? 0) - atMs;
    return earlyMs > 0 ? [`${tag} took effect at ${consumer} ${earlyMs} ms before its time`] : [];
  });
}

/** Every consumer of a message that asks for it replies once, with what became of the message there. */
function checkReplies({ sent, replies }: Books): string[] {
  const given = new Map<string, string[]>();
  for (const { consumer, messageId, outcome } of replies) {
    const name = nameOf(messageId, consumer);
    given.set(name, [...(given.get(name) ?? []), outcome]);
  }
  const problems = sent.flatMap((row) => {
    if (row.messageId === null) return [];
    const { messageId } = row;
    return consumersOf(row).flatMap((consumer) => {
      const expected = diesAt(row.fate, row.at, consumer) ? 'failed' : 'done';
      const got = given.get(nameOf(messageId, consumer)) ?? [];
      given.delete(nameOf(messageId, consumer));
      const isRight = got.length === 1 && got[0] === expected;
      return isRight
        ? []
        : [`seed ${row.seed}: ${row.tag} was replied to by ${consumer}: ${got.join(', ') || 'never'}`];
    });
  });
  return [...problems, ...[...given.keys()].map((name) => `${name} was replied to and never asked`)];
}

/** The effects of a strict key stand in its sequence; where one is missing it was skipped, and before the next one. */
function checkSequences(books: Books): string[] {
  const keys = new Map(
    books.sent.flatMap(({ tag, topic, key }) => (topic === STRICT && key !== null ? [[tag, key]] : [])),
  );
  const lanes = new Map<string, Step[]>();
  const steps = [
    ...books.effects.flatMap(({ sequence, ...row }) =>
      sequence === null ? [] : [{ ...row, sequence, isSkip: false }],
    ),
    ...distinct(books.skips).map((row) => ({ ...row, isSkip: true })),
  ];
  for (const step of steps) {
    const lane = `${keys.get(step.tag)} at ${step.consumer}`;
    lanes.set(lane, [...(lanes.get(lane) ?? []), step]);
  }
  return [...lanes].flatMap(([lane, own]) => checkLane(lane, own));
}

interface Step extends Happening {
  readonly sequence: string;
  readonly atMs: number;
  readonly isSkip: boolean;
}

function checkLane(lane: string, steps: readonly Step[]): string[] {
  const skips = new Map(steps.filter(({ isSkip }) => isSkip).map((step) => [placeOf(step), step.atMs]));
  const problems: string[] = [];
  let last = 0;
  for (const step of steps) {
    if (step.isSkip) continue;
    const place = placeOf(step);
    for (let missing = last + 1; missing < place; missing += 1) {
      const skippedAt = skips.get(missing);
      if (skippedAt === undefined) problems.push(`${lane}: ${place} took effect before ${missing}`);
      else if (step.atMs < skippedAt) problems.push(`${lane}: ${place} took effect before ${missing} was skipped`);
    }
    if (place <= last) problems.push(`${lane}: ${place} took effect after ${last}`);
    last = Math.max(last, place);
  }
  return problems;
}

/** `<generation>.<n>`, of the one generation that there is here. */
function placeOf({ sequence }: Step): number {
  return Number(sequence.split('.')[1]);
}

function consumersOf({ topic }: SentRow): readonly ConsumerName[] {
  return CONSUMERS_OF[topic] ?? [];
}

/** The operator may have to say the same twice; the first time counts. */
function distinct(skips: readonly SkipRow[]): readonly SkipRow[] {
  return [...new Map([...skips].reverse().map((skip) => [nameOf(skip.tag, skip.consumer), skip])).values()];
}

function countByMessage(happenings: readonly Happening[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { tag, consumer } of happenings) {
    const name = nameOf(tag, consumer);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

function nameOf(tag: string, consumer: string): string {
  return `${tag} ${consumer}`;
}
