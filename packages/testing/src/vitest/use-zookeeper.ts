import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll } from 'vitest';
import { startZooKeeper, type ZooKeeperServer, type ZooKeeperServerOptions } from '../servers/zookeeper.server.js';

export interface ZooKeeperFixture {
  /** The server of this file: it may be paused and restarted. Known from `beforeAll` on. */
  readonly server: ZooKeeperServer;
  /** `host:port`; known from `beforeAll` on. */
  readonly connectString: string;
  /** A path that only the caller uses; nothing is there yet. */
  readonly root: string;
}

/**
 * Starts a ZooKeeper for the spec file and stops it after its last test. It is not part of the global setup: only the
 * specs that ask for it pay for its start, about a second. Call it at the top of a `describe` or a file.
 */
export function useZooKeeper(options: ZooKeeperServerOptions = {}): ZooKeeperFixture {
  let started: ZooKeeperServer | undefined;
  // The first start on a machine may download the packages.
  beforeAll(async () => {
    started = await startZooKeeper(options);
  }, 180_000);
  afterAll(() => started?.stop());

  const server = (): ZooKeeperServer => {
    if (started === undefined) throw new Error('The server runs from beforeAll on: use it inside a hook or a test');
    return started;
  };
  return {
    root: `/t${randomBytes(6).toString('hex')}`,
    get server(): ZooKeeperServer {
      return server();
    },
    get connectString(): string {
      return server().connectString;
    },
  };
}
