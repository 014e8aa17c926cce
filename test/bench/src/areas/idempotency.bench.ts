import { randomUUID } from 'node:crypto';
import { redisCommandCounter, startRedis } from '@lockstep/testing';
import { type RowPlan, runBench } from '../harness/bench-run.js';
import { HttpConnection } from '../harness/http-connection.js';
import { placeOrder } from '../idempotency/place-order.js';
import { type Setting, serverContestant, startOrderServer } from '../idempotency/server-contestant.js';

const OPERATIONS_COUNTED = 20;

await runBench({
  name: 'idempotency',
  sliceMs: 700,
  open: async () => {
    const redis = await startRedis();
    const redisUrl = redis.url;
    const keyed = (['express', 'fastify'] as const).flatMap((platform) =>
      (['first', 'replay'] as const).map((traffic) => keyedRow({ redisUrl, platform, traffic })),
    );
    const noKey = noKeyRow({ redisUrl, platform: 'express', traffic: 'no-key' });
    return { rows: [...keyed, noKey], close: () => redis.stop() };
  },
});

/** Against the same endpoint with the same number of bare commands, and the known libraries. */
function keyedRow(setting: Setting): RowPlan {
  const { platform, traffic } = setting;
  const contestant = (name: string, variant = name) => serverContestant(name, variant, setting);
  const expressOnly = platform === 'express' ? [contestant('express-idempotency')] : [];
  return {
    name: `${traffic}-${platform}`,
    unit: 'req/s',
    ours: contestant('ours'),
    raw: contestant('raw'),
    peers: [contestant('@node-idempotency/nestjs', 'node-idempotency'), ...expressOnly],
    references: [contestant('noGuarantee', 'bare')],
    commandsPerOp: () => commandsPerRequest(setting),
  };
}

/** Requests without the header, against the same endpoint behind an interceptor that does nothing. */
function noKeyRow(setting: Setting): RowPlan {
  return {
    name: 'no-key',
    unit: 'req/s',
    ours: serverContestant('ours', 'ours', setting),
    raw: serverContestant('raw', 'no-op', setting),
    peers: [],
    references: [serverContestant('requestContext', 'context', setting)],
    commandsPerOp: () => commandsPerRequest(setting),
  };
}

/** Top-level commands of one request, with one in flight. */
async function commandsPerRequest(setting: Setting): Promise<number> {
  const { redisUrl, traffic } = setting;
  const server = await startOrderServer('ours', setting);
  const connection = await HttpConnection.open(server.port);
  const counter = await redisCommandCounter(redisUrl);
  try {
    const known = randomUUID();
    await connection.send(placeOrder(known)); // connects, loads the scripts
    await connection.send(placeOrder(known));
    await counter.reset();
    const keys = { first: () => randomUUID(), replay: () => known, 'no-key': () => undefined };
    for (let i = 0; i < OPERATIONS_COUNTED; i += 1) await connection.send(placeOrder(keys[traffic]()));
    return (await counter.commands()).length / OPERATIONS_COUNTED;
  } finally {
    counter.stop();
    connection.close();
    await server.stop();
  }
}
