import { inTurnOrder, type MessageEnvelope } from '@lockstep/outbox';

/** A message as a job carries it, with what was tried before that job. */
export interface Letter {
  readonly message: MessageEnvelope;
  /** Deliveries that count, in earlier jobs. */
  readonly attempts: number;
}

/**
 * How a job's letters are handed over:
 * - `batch`: together.
 * - `head-first`: the first alone; the others wait behind it, because they have its key, and follow as a batch.
 * - `one-by-one`: each alone, in order, because one of them may have killed a process.
 */
export type HandOver = 'batch' | 'head-first' | 'one-by-one';

/**
 * What is known of a letter that was alone when its process died, written before each further try: a process that dies
 * cannot say afterwards which of its messages it was.
 */
export interface Suspicion {
  /** Tries that never ended. */
  readonly crashes: number;
  /** How many runs of the job had failed when the latest try began; `undefined` once that try has ended otherwise. */
  readonly triedAt: number | undefined;
}

export interface Luggage {
  readonly handOver: HandOver;
  readonly letters: readonly Letter[];
  readonly suspicion?: Suspicion | undefined;
}

const VERSION = 1;
type PackedLetter = [string, string, string | null, string, MessageEnvelope['headers'], number, number];

/** The data of a job: arrays instead of objects, since a job carries a hundred of them. */
export interface PackedLuggage {
  readonly v: typeof VERSION;
  readonly h: HandOver;
  readonly m: readonly PackedLetter[];
  readonly s?: Suspicion;
}

/** A job that this version cannot read: written by a newer one, or by somebody else. */
export class UnreadableJobError extends Error {
  override readonly name = 'UnreadableJobError';
}

export function packLuggage({ handOver, letters, suspicion }: Luggage): PackedLuggage {
  const m = letters.map(({ message, attempts }): PackedLetter => {
    const { id, topic, key, payload, headers, publishedAt } = message;
    return [id, topic, key ?? null, payload, headers, publishedAt, attempts];
  });
  return { v: VERSION, h: handOver, m, ...(suspicion === undefined ? {} : { s: suspicion }) };
}

/**
 * Strict messages of a key come in their sequence, however they were packed: the first of a `head-first` job would else
 * wait for one that waits behind it.
 *
 * @throws UnreadableJobError
 */
export function unpackLuggage(data: unknown): Luggage {
  const packed = data as Partial<PackedLuggage> | null;
  if (packed?.v !== VERSION || packed.h === undefined || !Array.isArray(packed.m)) {
    throw new UnreadableJobError('the job does not carry messages in a form that this version reads');
  }
  const letters = (packed.m as readonly PackedLetter[]).map(
    ([id, topic, key, payload, headers, publishedAt, attempts]): Letter => ({
      message: { id, topic, key: key ?? undefined, payload, headers, publishedAt },
      attempts,
    }),
  );
  const inTurn = inTurnOrder(letters, ({ message }) => message);
  return { handOver: packed.h, letters: inTurn, suspicion: packed.s };
}
