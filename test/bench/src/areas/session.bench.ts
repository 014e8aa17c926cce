import { redisCommandCounter, startRedis } from '@lockstep/testing';
import { type RowPlan, runBench } from '../harness/bench-run.js';
import { HttpConnection } from '../harness/http-connection.js';
import { HttpClient } from '../session/http-clients.js';
import { expectAnswer, type Setting, serverContestant, startAccountServer } from '../session/server-contestant.js';

const OPERATIONS_COUNTED = 20;
const PEERS = { express: 'express-session', fastify: '@fastify/session' } as const;

await runBench({
  name: 'session',
  sliceMs: 700,
  open: async () => {
    const redis = await startRedis();
    const redisUrl = redis.url;
    const rows = [
      sessionRow('read-express', { redisUrl, platform: 'express', traffic: 'read' }),
      sessionRow('write-express', { redisUrl, platform: 'express', traffic: 'write' }),
      sessionRow('anonymous-express', { redisUrl, platform: 'express', traffic: 'anonymous' }),
      sessionRow('read-fastify', { redisUrl, platform: 'fastify', traffic: 'read' }),
      sessionRow('write-fastify', { redisUrl, platform: 'fastify', traffic: 'write' }),
      sessionRow('write-64k', { redisUrl, platform: 'express', traffic: 'write-64k' }),
    ];
    return { rows, close: () => redis.stop() };
  },
});

/** Against the library of the platform with its Redis store, and against the same endpoint without any session. */
function sessionRow(name: string, setting: Setting): RowPlan {
  return {
    name,
    unit: 'req/s',
    ours: serverContestant('ours', setting),
    raw: serverContestant('raw', setting),
    peers: [serverContestant(PEERS[setting.platform], setting)],
    references: setting.traffic === 'anonymous' ? [serverContestant('requestContext', setting, 'context')] : [],
    commandsPerOp: () => commandsPerRequest(setting),
  };
}

/** Top-level commands of one request, with one in flight. */
async function commandsPerRequest(setting: Setting): Promise<number> {
  const { redisUrl, traffic } = setting;
  const server = await startAccountServer('ours', setting);
  const client = await HttpClient.open(server.port, traffic);
  const connection = await HttpConnection.open(server.port);
  const counter = await redisCommandCounter(redisUrl);
  try {
    await expectAnswer(connection, client, traffic); // connects, loads the scripts
    await counter.reset();
    for (let i = 0; i < OPERATIONS_COUNTED; i += 1) await expectAnswer(connection, client, traffic);
    return (await counter.commands()).length / OPERATIONS_COUNTED;
  } finally {
    counter.stop();
    connection.close();
    await server.stop();
  }
}
