import type { SqlTransaction } from '@lockstep/sql';
import type { MessageEnvelope } from '../../message.js';
import { SEQUENCE_HEADER } from '../../message-headers.js';
import type { OutboxDelivery } from '../../outbox-store.js';
import { withStart } from '../with-start.js';
import { STARTS } from './sequence-statements.js';

interface StartRow {
  readonly topic: string;
  readonly key: string;
  readonly consumer: string;
  readonly sequence: string;
}

/** The deliveries with what their consumers must be told of where they begin. Asks only where there are strict ones. */
export async function withStarts(
  tx: SqlTransaction,
  deliveries: readonly OutboxDelivery[],
): Promise<readonly OutboxDelivery[]> {
  const strict = deliveries.filter(({ message }) => message.headers[SEQUENCE_HEADER] !== undefined);
  if (strict.length === 0) return deliveries;
  const asked = new Map(
    strict.map(({ message: { topic, key = '' }, consumer }) => [
      nameOf(topic, key, consumer),
      { topic, key, consumer },
    ]),
  );
  const rows = await tx.query<StartRow>(STARTS, [JSON.stringify([...asked.values()])]);
  const starts = new Map(rows.map(({ topic, key, consumer, sequence }) => [nameOf(topic, key, consumer), sequence]));
  return deliveries.map((delivery) => ({ ...delivery, message: startedBy(starts, delivery) }));
}

function startedBy(starts: ReadonlyMap<string, string>, { message, consumer }: OutboxDelivery): MessageEnvelope {
  return withStart(message, starts.get(nameOf(message.topic, message.key ?? '', consumer)));
}

function nameOf(topic: string, key: string, consumer: string): string {
  return `${topic}\0${consumer}\0${key}`;
}
