import { startPostgres, startRedis } from '@lockstep/testing';
import { runBench } from '../harness/bench-run.js';
import { ourRelay } from '../messaging/our-relay.js';
import { rawRelay } from '../messaging/raw-relay.js';

// No peer hands messages from a table to a queue with on-accept durability: pg-boss and graphile-worker run the jobs in
// the database itself, which is other work. They belong to rows about the whole way to the handler.
await runBench({
  name: 'messaging',
  open: async () => {
    const [postgres, redis] = await Promise.all([startPostgres({ fsync: true }), startRedis()]);
    const database = await postgres.createDatabase('bench');
    return {
      rows: [
        {
          name: 'relay-on-accept',
          unit: 'messages/s',
          ours: ourRelay(database, redis.url),
          raw: rawRelay(database, redis.url),
        },
      ],
      close: async () => {
        await Promise.all([postgres.stop(), redis.stop()]);
      },
    };
  },
});
