import { randomBytes } from 'node:crypto';
import { type PostgresServer, type RedisServer, startPostgres, startRedis } from '@lockstep/testing';

export type StoreName = 'redis' | 'postgres';

/** How what is left in a room is found, when nothing runs any more. */
export interface Leftovers<Left> {
  keys(url: string, namespace: string): Promise<Left[]>;
  rows(url: string): Promise<Left[]>;
}

/** A server under fire. */
export interface StoreServer<Left> {
  readonly name: StoreName;
  readonly server: RedisServer | PostgresServer;
  /** Room that nobody else uses: where workers find it, and what it is called there. */
  room(): Promise<StoreRoom<Left>>;
}

export interface StoreRoom<Left> {
  readonly url: string;
  readonly namespace: string;
  /** What is left there when nothing runs any more. */
  left(): Promise<Left[]>;
}

/** What it has acknowledged is there after a SIGKILL. */
export async function startStore<Left>(name: StoreName, leftovers: Leftovers<Left>): Promise<StoreServer<Left>> {
  if (name === 'postgres') {
    const server = await startPostgres({ settings: { synchronous_commit: 'on' } });
    return { name, server, room: () => databaseOf(server, leftovers) };
  }
  const server = await startRedis({ appendonly: 'always', args: ['--maxmemory-policy', 'noeviction'] });
  const room = async (): Promise<StoreRoom<Left>> => {
    const namespace = freshName();
    return { url: server.url, namespace, left: () => leftovers.keys(server.url, namespace) };
  };
  return { name, server, room };
}

async function databaseOf<Left>(server: PostgresServer, leftovers: Leftovers<Left>): Promise<StoreRoom<Left>> {
  const namespace = freshName();
  const url = await server.createDatabase(namespace);
  return { url, namespace, left: () => leftovers.rows(url) };
}

function freshName(): string {
  return `c${randomBytes(6).toString('hex')}`;
}
