import { randomUUID } from 'node:crypto';
import { redisCommandCounter, startRedis } from '@lockstep/testing';
import { type RowPlan, runBench } from '../harness/bench-run.js';
import { HttpConnection, placeOrder } from '../idempotency/http-load.js';
import { OrderServer, serverContestant, type Traffic } from '../idempotency/server-contestant.js';

const OPERATIONS_COUNTED = 20;

await runBench({
  name: 'idempotency',
  sliceMs: 700,
  open: async () => {
    const redis = await startRedis();
    const row = (traffic: Traffic): RowPlan => ({
      name: `${traffic}-express`,
      unit: 'req/s',
      ours: serverContestant('ours', 'ours', redis.url, traffic),
      raw: serverContestant('raw', 'raw', redis.url, traffic),
      peers: [
        serverContestant('@node-idempotency/nestjs', 'node-idempotency', redis.url, traffic),
        serverContestant('express-idempotency', 'express-idempotency', redis.url, traffic),
      ],
      references: [serverContestant('noGuarantee', 'bare', redis.url, traffic)],
      commandsPerOp: () => commandsPerRequest(redis.url, traffic),
    });
    return { rows: [row('first'), row('replay')], close: () => redis.stop() };
  },
});

/** Top-level commands of one request, with one in flight. */
async function commandsPerRequest(redisUrl: string, traffic: Traffic): Promise<number> {
  const server = await OrderServer.start('ours', redisUrl);
  const connection = await HttpConnection.open(server.port);
  const counter = await redisCommandCounter(redisUrl);
  try {
    const known = randomUUID();
    await connection.send(placeOrder(known)); // connects, loads the scripts
    await connection.send(placeOrder(known));
    await counter.reset();
    for (let i = 0; i < OPERATIONS_COUNTED; i += 1) {
      await connection.send(placeOrder(traffic === 'replay' ? known : randomUUID()));
    }
    return (await counter.commands()).length / OPERATIONS_COUNTED;
  } finally {
    counter.stop();
    connection.close();
    await server.stop();
  }
}
