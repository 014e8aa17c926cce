import { fileURLToPath } from 'node:url';
import { type Bench, type Contestant, closedLoop } from '../harness/contestant.js';
import { CONNECTIONS, HttpConnection } from '../harness/http-connection.js';
import type { Platform } from '../harness/nest-server.js';
import { ServerProcess } from '../harness/server-process.js';
import { HttpClient, routes, type Traffic } from './http-clients.js';

const SERVER = fileURLToPath(new URL('./server.js', import.meta.url));

/** What is measured: which server framework answers which requests. */
export interface Setting {
  readonly redisUrl: string;
  readonly platform: Platform;
  readonly traffic: Traffic;
}

/** A variant of the account service, under load from here: each connection is a browser with a session of its own. */
export function serverContestant(name: string, setting: Setting, variant = name): Contestant {
  return {
    name,
    open: async () => {
      const server = await startAccountServer(variant, setting);
      try {
        return await underLoad(server, setting.traffic);
      } catch (error) {
        await server.stop();
        throw error;
      }
    },
  };
}

async function underLoad(server: ServerProcess, traffic: Traffic): Promise<Bench> {
  const clients: HttpClient[] = [];
  while (clients.length < CONNECTIONS) clients.push(await HttpClient.open(server.port, traffic));
  const connections = await Promise.all(clients.map(() => HttpConnection.open(server.port)));
  const answered = clients.map(() => 0);
  const send = async (worker: number): Promise<void> => {
    await expectAnswer(connections[worker], clients[worker], traffic);
    answered[worker] = (answered[worker] ?? 0) + 1;
  };
  return {
    run: (sliceMs) => closedLoop(CONNECTIONS, sliceMs, send),
    close: async () => {
      try {
        for (const [worker, client] of clients.entries()) await client.expectKept(answered[worker] ?? 0);
      } finally {
        for (const connection of connections) connection.close();
        await server.stop();
      }
    },
  };
}

/** Every answer counts only if it is the right one: a fast 401 is no result. */
export async function expectAnswer(
  connection: HttpConnection | undefined,
  client: HttpClient | undefined,
  traffic: Traffic,
): Promise<void> {
  const status = await connection?.send(client?.request ?? '');
  if (status !== routes[traffic].status) throw new Error(`answered ${status} instead of ${routes[traffic].status}`);
}

/** A variant of the account service in a process of its own. */
export function startAccountServer(variant: string, { redisUrl, platform }: Setting): Promise<ServerProcess> {
  return ServerProcess.start(SERVER, [variant, redisUrl, platform]);
}
