import type { OutboxModuleOptions, TopicOptions } from '@lockstep/outbox';
import { CONSUMERS_OF, FAST, REPLIES, REPLY_READER } from './errand.js';

/** What holds for whoever publishes, relays or consumes: producers name the consumers, who may not have started yet. */
export const SHOP_OPTIONS: Pick<OutboxModuleOptions, 'origin' | 'shards' | 'topics'> = {
  origin: 'chaos',
  shards: 2,
  topics: {
    ...Object.fromEntries(Object.entries(CONSUMERS_OF).map(([topic, consumers]) => [topic, topicOf(topic, consumers)])),
    [REPLIES]: { consumers: [REPLY_READER] },
  },
};

function topicOf(topic: string, consumers: readonly string[]): TopicOptions {
  return { consumers, durability: topic === FAST ? 'on-accept' : 'until-ack' };
}
