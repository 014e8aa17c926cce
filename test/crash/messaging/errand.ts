import type { SeededRandom } from '@lockstep/testing';

/**
 * What becomes of a message at the consumer that its fate names; all others just handle it. `flaky`: fails a few times
 * first. `blocking`: no timer of its process runs for so long that its job goes to another one. `refused`: given up at once.
 * `poison`: takes its process with it, whenever it is handed out.
 */
export type Fate = 'plain' | 'flaky' | 'blocking' | 'refused' | 'poison';

/** The body of every message of the chaos run. */
export interface Errand {
  /** Unique; the books know the message by it. */
  readonly tag: string;
  readonly fate: Fate;
  /** Consumer that it happens at. */
  readonly at: ConsumerName;
  /** How often a flaky one fails. */
  readonly failures: number;
  readonly filler: string;
}

export type ConsumerName = 'alpha' | 'beta';

/** Until acknowledged, with two consumers. */
export const KEPT = 'chaos.kept';
/** Until the transport has it. */
export const FAST = 'chaos.fast';
/** In the sequence of their key. */
export const STRICT = 'chaos.strict';
/** Many in one transaction. */
export const BATCHED = 'chaos.batched';
/** What consumers say of those of {@link KEPT} that ask for it. */
export const REPLIES = 'chaos.replies';
export const REPLY_READER = 'reader';

export const CONSUMERS_OF: Readonly<Record<string, readonly ConsumerName[]>> = {
  [KEPT]: ['alpha', 'beta'],
  [FAST]: ['alpha'],
  [STRICT]: ['alpha'],
  [BATCHED]: ['beta'],
};

/** What is dead at a consumer must have a fate that leads there. */
export function diesAt(fate: Fate, at: ConsumerName, consumer: ConsumerName): boolean {
  return at === consumer && (fate === 'refused' || fate === 'poison');
}

const LONGEST_FILLER = 6_000;
const MOST_FAILURES = 2;

export function drawTopic(random: SeededRandom): string {
  return random.pick([KEPT, KEPT, KEPT, KEPT, FAST, FAST, STRICT, STRICT, STRICT, BATCHED]);
}

export function drawErrand(random: SeededRandom, tag: string, consumers: readonly ConsumerName[]): Errand {
  const fate = fateOf(random.next());
  const size = random.next() < 0.1 ? random.integer(0, LONGEST_FILLER) : random.integer(0, 200);
  const failures = fate === 'flaky' ? random.integer(1, MOST_FAILURES + 1) : 0;
  return { tag, fate, at: random.pick(consumers), failures, filler: 'x'.repeat(size) };
}

function fateOf(chance: number): Fate {
  if (chance < 0.08) return 'flaky';
  if (chance < 0.11) return 'refused';
  return chance < 0.112 ? 'blocking' : 'plain';
}
