import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type Bench, type Contestant, closedLoop } from '../harness/contestant.js';
import { CONNECTIONS, HttpConnection, placeOrder } from './http-load.js';

const SERVER = fileURLToPath(new URL('./server.js', import.meta.url));
const REPLAYED_KEYS = 500;

/** New keys; keys that were answered before; no key at all. */
export type Traffic = 'first' | 'replay' | 'no-key';
export type Platform = 'express' | 'fastify';

/** What is measured: which server framework answers which requests. */
export interface Setting {
  readonly redisUrl: string;
  readonly platform: Platform;
  readonly traffic: Traffic;
}

/** A variant of the order service in a process of its own, under load from here. */
export function serverContestant(name: string, variant: string, setting: Setting): Contestant {
  return {
    name,
    open: async () => {
      const server = await OrderServer.start(variant, setting);
      try {
        return await underLoad(server, setting.traffic);
      } catch (error) {
        await server.stop();
        throw error;
      }
    },
  };
}

async function underLoad(server: OrderServer, traffic: Traffic): Promise<Bench> {
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

export class OrderServer {
  private constructor(
    private readonly child: ChildProcess,
    readonly port: number,
  ) {}

  /** @throws Error with the last lines of its output when it does not come up */
  static async start(variant: string, { redisUrl, platform }: Omit<Setting, 'traffic'>): Promise<OrderServer> {
    const env = { ...process.env, NODE_ENV: 'production' };
    const child = spawn(process.execPath, [SERVER, variant, redisUrl, platform], {
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let output = '';
    const port = await new Promise<number>((resolve, reject) => {
      child.stderr.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      child.stdout.on('data', (chunk: Buffer) => {
        const listening = /listening on (\d+)/.exec(chunk.toString());
        if (listening !== null) resolve(Number(listening[1]));
      });
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`does not start: ${firstErrorLine(output)}`)));
    });
    return new OrderServer(child, port);
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL'); // it has nothing to save, and a graceful end would wait for the connections of the load
    await gone;
  }
}

function firstErrorLine(output: string): string {
  return output.split('\n').find((line) => /error/i.test(line)) ?? output.trim().slice(0, 200);
}
