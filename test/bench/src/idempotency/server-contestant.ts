import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { type Bench, type Contestant, closedLoop } from '../harness/contestant.js';
import { CONNECTIONS, HttpConnection } from '../harness/http-connection.js';
import type { Platform } from '../harness/nest-server.js';
import { ServerProcess } from '../harness/server-process.js';
import { placeOrder } from './place-order.js';

const SERVER = fileURLToPath(new URL('./server.js', import.meta.url));
const REPLAYED_KEYS = 500;

/** New keys; keys that were answered before; no key at all. */
export type Traffic = 'first' | 'replay' | 'no-key';

/** What is measured: which server framework answers which requests. */
export interface Setting {
  readonly redisUrl: string;
  readonly platform: Platform;
  readonly traffic: Traffic;
}

/** A variant of the order service, under load from here. */
export function serverContestant(name: string, variant: string, setting: Setting): Contestant {
  return {
    name,
    open: async () => {
      const server = await startOrderServer(variant, setting);
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
  const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () => HttpConnection.open(server.port)));
  const keys = traffic === 'replay' ? Array.from({ length: REPLAYED_KEYS }, () => randomUUID()) : [];
  for (const key of keys) await expectCreated(connections[0], key);
  let turn = 0;
  const nextKey = () => (traffic === 'no-key' ? undefined : (keys[turn++ % keys.length] ?? randomUUID()));
  return {
    run: (sliceMs) => closedLoop(CONNECTIONS, sliceMs, (worker) => expectCreated(connections[worker], nextKey())),
    close: async () => {
      for (const connection of connections) connection.close();
      await server.stop();
    },
  };
}

/** Every answer counts only if it is the right one: a fast 500 is no result. */
async function expectCreated(connection: HttpConnection | undefined, key: string | undefined): Promise<void> {
  const status = await connection?.send(placeOrder(key));
  if (status !== 201) throw new Error(`answered ${status} instead of 201`);
}

/** A variant of the order service in a process of its own. */
export function startOrderServer(
  variant: string,
  { redisUrl, platform }: Omit<Setting, 'traffic'>,
): Promise<ServerProcess> {
  return ServerProcess.start(SERVER, [variant, redisUrl, platform]);
}
