import { ConfigurationError, checkedSwitch, checkKnown, type Duration, durationMs, wholeNumber } from '@lockstep/core';
import type { Ordering } from './message.js';
import type { Durability } from './message-headers.js';
import { checkedName, checkedTopic } from './message-names.js';
import type { MessageRoute } from './message-transport.js';

export interface TopicOptions {
  /** @default the module's */
  readonly durability?: Durability;
  /** Of the messages that have a key. `strict` needs `until-ack`. @default 'best-effort' */
  readonly ordered?: Ordering;
  /**
   * Consumers in applications that do not share this one's database, and so cannot subscribe in it by themselves.
   * @default []
   */
  readonly consumers?: readonly string[];
}

export interface OutboxModuleOptions {
  /**
   * Name of the application whose store holds the messages: acknowledgements are addressed to it. The same in all its
   * processes. Lower-case letters, digits, `.`, `_` and `-`.
   */
  readonly origin: string;
  /** @default 'until-ack' */
  readonly durability?: Durability;
  /** What holds for single topics. @default {} */
  readonly topics?: Readonly<Record<string, TopicOptions>>;
  /** Which parts run in this process. */
  readonly run?: {
    /** Publishing from the outbox, re-delivery, and receiving acknowledgements. @default true */
    readonly relay?: boolean;
    /** The methods with `@OnMessage`. @default true */
    readonly consumers?: boolean;
  };
  /**
   * How many relays can work at a time; 1 to 64. Messages of one key keep their order within a shard, so changing the
   * number while messages are pending may reorder them; none is forgotten.
   * @default 4
   */
  readonly shards?: number;
  /** Payload and headers of one message, in bytes. @default 65536 */
  readonly maxMessageBytes?: number;
  /** When a message that was relayed and not acknowledged is published again, the first time. @default '30s' */
  readonly redeliverAfter?: Duration;
  /** The pause before a re-delivery doubles each time, up to this. @default '10m', at least `redeliverAfter` */
  readonly redeliverAtMost?: Duration;
  /** Pause between two looks at the outbox where nobody wakes the relay. @default '1s' */
  readonly sweepEvery?: Duration;
  /** For how long a relay owns a shard without renewing; at least three times `sweepEvery`. @default '10s', at least that */
  readonly leaseTtl?: Duration;
  /** Messages of one claim; 1 to 5000. @default 500 */
  readonly batchSize?: number;
  /** How long dead letters are kept. @default '90d' */
  readonly deadLetterRetention?: Duration;
  /**
   * How long the place of a strict key is remembered that has no messages. Longer than any message of it may stay
   * undelivered.
   * @default '30d'
   */
  readonly sequenceRetention?: Duration;
  /**
   * `OutboxHealth.check()` is down when messages are older and none of them has left for as long. Longer than all
   * attempts of a consumer together.
   * @default '5m'
   */
  readonly unhealthyAfter?: Duration;
  /**
   * How long half messages that are decided, and the tombstones of their transactions, are kept: whoever comes later with a
   * commit is refused all the same, and told less. Never purged before the deadline of the message.
   * @default '7d'
   */
  readonly halfMessageRetention?: Duration;
}

export interface ResolvedOutboxOptions {
  readonly origin: string;
  readonly durability: Durability;
  readonly topicDurability: ReadonlyMap<string, Durability>;
  /** The topics whose messages with a key are strict. */
  readonly strictTopics: ReadonlySet<string>;
  /** The consumers that were named in the options. */
  readonly routes: readonly MessageRoute[];
  readonly runRelay: boolean;
  readonly runConsumers: boolean;
  readonly shards: number;
  readonly maxMessageBytes: number;
  readonly redeliverAfterMs: number;
  readonly redeliverAtMostMs: number;
  readonly sweepEveryMs: number;
  readonly leaseTtlMs: number;
  readonly batchSize: number;
  readonly deadLetterRetentionMs: number;
  readonly sequenceRetentionMs: number;
  readonly unhealthyAfterMs: number;
  readonly halfMessageRetentionMs: number;
}

export const OUTBOX_OPTIONS = Symbol('@lockstep/outbox:OUTBOX_OPTIONS');

const DAY_MS = 86_400_000;
const DRIVERS = ['store', 'transport', 'wakeUp'];
const NAMES: readonly (keyof OutboxModuleOptions)[] = [
  'origin',
  'durability',
  'topics',
  'run',
  'shards',
  'maxMessageBytes',
  'redeliverAfter',
  'redeliverAtMost',
  'sweepEvery',
  'leaseTtl',
  'batchSize',
  'deadLetterRetention',
  'sequenceRetention',
  'unhealthyAfter',
  'halfMessageRetention',
];

/** @throws ConfigurationError naming the option and its value */
export function resolveOutboxOptions(options: OutboxModuleOptions): ResolvedOutboxOptions {
  checkOptionsGiven(options);
  assertNoDrivers(options);
  checkKnown(options, 'OutboxModule', NAMES);
  const sweepEveryMs = durationMs(options.sweepEvery ?? '1s', 'sweepEvery', { minMs: 10, maxMs: 60_000 });
  const redeliverAfterMs = durationMs(options.redeliverAfter ?? '30s', 'redeliverAfter', { minMs: 100, maxMs: DAY_MS });
  return Object.freeze({
    origin: checkedName(options.origin, 'origin'),
    durability: checkedDurability(options.durability ?? 'until-ack', 'durability'),
    ...resolveTopics(options.topics === undefined ? {} : options.topics, options.durability ?? 'until-ack'),
    ...resolveRun(options.run === undefined ? {} : options.run),
    shards: wholeNumber('shards', options.shards ?? 4, 1, 64),
    maxMessageBytes: wholeNumber('maxMessageBytes', options.maxMessageBytes ?? 65_536, 1_024, 16_777_216),
    redeliverAfterMs,
    redeliverAtMostMs: durationMs(options.redeliverAtMost ?? Math.max(600_000, redeliverAfterMs), 'redeliverAtMost', {
      minMs: redeliverAfterMs,
    }),
    sweepEveryMs,
    leaseTtlMs: durationMs(options.leaseTtl ?? Math.max(10_000, 3 * sweepEveryMs), 'leaseTtl', {
      minMs: 3 * sweepEveryMs,
      maxMs: 600_000,
    }),
    batchSize: wholeNumber('batchSize', options.batchSize ?? 500, 1, 5_000),
    deadLetterRetentionMs: durationMs(options.deadLetterRetention ?? '90d', 'deadLetterRetention', { minMs: 1_000 }),
    sequenceRetentionMs: durationMs(options.sequenceRetention ?? '30d', 'sequenceRetention', { minMs: 1_000 }),
    unhealthyAfterMs: durationMs(options.unhealthyAfter ?? '5m', 'unhealthyAfter', { minMs: 1_000 }),
    halfMessageRetentionMs: durationMs(options.halfMessageRetention ?? '7d', 'halfMessageRetention', { minMs: 1_000 }),
  });
}

/** @throws ConfigurationError when they are no object */
export function checkOptionsGiven(options: unknown): void {
  checkObject(options, 'OutboxModule options', "an object with at least 'origin'");
}

/** They would come too late: what is in memory would take their place without a word. */
function assertNoDrivers(options: object): void {
  const driver = DRIVERS.find((name) => name in options);
  if (driver === undefined) return;
  throw new ConfigurationError(
    `OutboxModule.forRootAsync: '${driver}' belongs beside useFactory, not into what the factory returns.`,
  );
}

function resolveTopics(
  topics: Readonly<Record<string, TopicOptions>>,
  standard: Durability,
): Pick<ResolvedOutboxOptions, 'topicDurability' | 'strictTopics' | 'routes'> {
  checkObject(topics, 'topics', 'an object of topics');
  const topicDurability = new Map<string, Durability>();
  const strictTopics = new Set<string>();
  const routes: MessageRoute[] = [];
  for (const [name, options] of Object.entries(topics)) {
    const topic = checkedTopic(name, 'topics');
    checkKnown(options, `topics.${topic}`, ['durability', 'ordered', 'consumers']);
    const { durability, ordered = 'best-effort', consumers = [] } = options;
    if (!Array.isArray(consumers)) {
      throw ConfigurationError.option(`topics.${topic}.consumers`, consumers, 'a list of names');
    }
    if (durability !== undefined) {
      topicDurability.set(topic, checkedDurability(durability, `topics.${topic}.durability`));
    }
    if (isStrict(ordered, `topics.${topic}.ordered`)) {
      if ((durability ?? standard) === 'on-accept') {
        throw ConfigurationError.option(
          `topics.${topic}.ordered`,
          ordered,
          "'best-effort' with durability 'on-accept'",
        );
      }
      strictTopics.add(topic);
    }
    for (const consumer of consumers) {
      routes.push({ topic, consumer: checkedName(consumer, `topics.${topic}.consumers`) });
    }
  }
  return { topicDurability, strictTopics, routes };
}

function isStrict(ordered: Ordering, option: string): boolean {
  if (ordered === 'strict' || ordered === 'best-effort') return ordered === 'strict';
  throw ConfigurationError.option(option, ordered, "'best-effort' or 'strict'");
}

function resolveRun(
  run: NonNullable<OutboxModuleOptions['run']>,
): Pick<ResolvedOutboxOptions, 'runRelay' | 'runConsumers'> {
  checkKnown(run, 'run', ['relay', 'consumers']);
  return {
    runRelay: checkedSwitch('run.relay', run.relay ?? true),
    runConsumers: checkedSwitch('run.consumers', run.consumers ?? true),
  };
}

function checkObject(value: unknown, option: string, expected: string): asserts value is object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return;
  throw ConfigurationError.option(option, value, expected);
}

function checkedDurability(value: Durability, option: string): Durability {
  if (value === 'until-ack' || value === 'on-accept') return value;
  throw ConfigurationError.option(option, value, "'until-ack' or 'on-accept'");
}
