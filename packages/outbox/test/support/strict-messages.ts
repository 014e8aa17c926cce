import type { MessageEnvelope } from '@lockstep/outbox';
import { v7 as uuidv7 } from 'uuid';

export const GENERATION = 1_700_000_000_000;

/** A strict message as the relay gives it to a transport. */
export function strictMessage(
  topic: string,
  key: string,
  n: number,
  { generation = GENERATION, ...headers }: { generation?: number; [header: string]: unknown } = {},
): MessageEnvelope {
  return {
    id: uuidv7(),
    topic,
    key,
    payload: JSON.stringify({ key, n }),
    headers: {
      'Lockstep-Origin': 'mall',
      'Lockstep-Durability': 'until-ack',
      'Lockstep-Sequence': `${generation}.${n}`,
      ...(headers as Record<string, string>),
    },
    publishedAt: Date.now(),
  };
}
