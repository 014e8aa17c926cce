import { startPostgres, startRedis } from '@lockstep/testing';
import { type RowPlan, runBench } from '../harness/bench-run.js';
import { ourLatency, rawLatency } from '../messaging/latency.js';
import type { Servers } from '../messaging/our-application.js';
import { ourConsumer } from '../messaging/our-consumer.js';
import { ourRelay } from '../messaging/our-relay.js';
import { graphileConsumer, pgBossConsumer } from '../messaging/peers/consumers.js';
import { graphileLatency, pgBossLatency } from '../messaging/peers/latency.js';
import { graphilePublisher, pgBossPublisher, pgTransactionalOutboxPublisher } from '../messaging/peers/publishers.js';
import { ourPublisher, rawPublisher } from '../messaging/publishers.js';
import { bareBullmq, rawConsumer } from '../messaging/raw-consumer.js';
import { rawRelay } from '../messaging/raw-relay.js';

const ONE_BY_ONE = 1_500;
const IN_BATCHES = 6_000;

await runBench({
  name: 'messaging',
  open: async () => {
    const [postgres, redis] = await Promise.all([startPostgres({ fsync: true }), startRedis()]);
    // One for each row: what one leaves behind must not weigh on another, nor be consumed by it.
    let databases = 0;
    const servers = async (row: string): Promise<Servers> => ({
      databaseUrl: await postgres.createDatabase(`bench_${row}`),
      redisUrl: new URL(`/${databases++}`, redis.url).href,
    });
    return {
      rows: [
        publishRow(await servers('publish')),
        relayRow('relay-on-accept', await servers('relay_on_accept'), 'on-accept'),
        relayRow('relay-until-ack', await servers('relay_until_ack'), 'until-ack'),
        consumeOneRow(await servers('consume_one')),
        consumeBatchRow(await servers('consume_batch')),
        latencyRow(await servers('latency')),
      ],
      close: async () => {
        await Promise.all([postgres.stop(), redis.stop()]);
      },
    };
  },
});

function publishRow(servers: Servers): RowPlan {
  return {
    name: 'publish',
    unit: 'transactions/s',
    ours: ourPublisher(servers),
    raw: rawPublisher(servers),
    peers: [pgBossPublisher(servers), graphilePublisher(servers), pgTransactionalOutboxPublisher(servers)],
  };
}

// No peer hands messages from a table to a queue: pg-boss and graphile-worker run the jobs in the database itself, and
// pg-transactional-outbox hands each message to a function. They are in the rows about the whole way to the handler.
function relayRow(name: string, servers: Servers, durability: 'on-accept' | 'until-ack'): RowPlan {
  const { databaseUrl, redisUrl } = servers;
  return { name, unit: 'messages/s', ours: ourRelay(servers, durability), raw: rawRelay(databaseUrl, redisUrl) };
}

function consumeOneRow(servers: Servers): RowPlan {
  return {
    name: 'consume-one',
    unit: 'messages/s',
    ours: ourConsumer(servers, ONE_BY_ONE, false),
    raw: rawConsumer(servers, ONE_BY_ONE, false),
    peers: [
      bareBullmq(servers, ONE_BY_ONE),
      graphileConsumer(servers, ONE_BY_ONE),
      pgBossConsumer(servers, ONE_BY_ONE, false),
    ],
  };
}

// BullMQ and graphile-worker run jobs one by one; only pg-boss gives a handler many at a time.
function consumeBatchRow(servers: Servers): RowPlan {
  return {
    name: 'consume-batch',
    unit: 'messages/s',
    ours: ourConsumer(servers, IN_BATCHES, true),
    raw: rawConsumer(servers, IN_BATCHES, true),
    peers: [pgBossConsumer(servers, IN_BATCHES, true)],
  };
}

function latencyRow(servers: Servers): RowPlan {
  return {
    name: 'latency-50',
    unit: 'ms, the middle one',
    measure: 'p50',
    ours: ourLatency(servers),
    raw: rawLatency(servers),
    peers: [graphileLatency(servers), pgBossLatency(servers)],
    sliceFactor: 5,
  };
}
