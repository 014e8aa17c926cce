import { randomBytes } from 'node:crypto';
import { type PostgresServer, type RedisServer, startPostgres, startRedis } from '@lockstep/testing';
import { type LeftKey, leftKeys, leftRows } from './leaks.js';
import type { StoreName } from './worker-setting.js';

/** A server that holds operations, and that faults may strike. */
export interface StoreServer {
  readonly name: StoreName;
  readonly server: RedisServer | PostgresServer;
  /** Room that nobody else uses: where workers find it, and what it is called there. */
  room(): Promise<StoreRoom>;
}

export interface StoreRoom {
  readonly url: string;
  readonly namespace: string;
  /** What is left there when nothing runs any more. */
  left(): Promise<LeftKey[]>;
}

/** What it has acknowledged is there after a SIGKILL. */
export async function startStore(name: StoreName): Promise<StoreServer> {
  if (name === 'postgres') {
    const server = await startPostgres({ settings: { synchronous_commit: 'on' } });
    return { name, server, room: () => databaseOf(server) };
  }
  const server = await startRedis({ appendonly: 'always', args: ['--maxmemory-policy', 'noeviction'] });
  const room = async (): Promise<StoreRoom> => {
    const namespace = freshName();
    return { url: server.url, namespace, left: () => leftKeys(server.url, namespace) };
  };
  return { name, server, room };
}

async function databaseOf(server: PostgresServer): Promise<StoreRoom> {
  const namespace = freshName();
  const url = await server.createDatabase(namespace);
  return { url, namespace, left: () => leftRows(url) };
}

function freshName(): string {
  return `c${randomBytes(6).toString('hex')}`;
}
