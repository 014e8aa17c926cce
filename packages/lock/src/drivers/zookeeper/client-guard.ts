import type { Socket } from 'node:net';
import { ConfigurationError } from '@lockstep/core';
import type { Client } from 'node-zookeeper-client';

interface ConnectionManager {
  socket?: Socket;
  connectTimeoutHandler?: NodeJS.Timeout;
  pendingBuffer: Buffer | null;
  onSocketData(chunk: Buffer): void;
  onSocketConnected(): void;
  findNextServer(connect: (server: unknown) => void): void;
}

/**
 * Mends what the client cannot do by itself, version 1.1: leave a server that is silent, stop for good, begin a new
 * connection without the half answer of the last one, and survive an answer that it does not understand.
 */
export class ClientGuard {
  private readonly manager: ConnectionManager;
  private isDisposed = false;

  /** @param onNonsense what the client threw while it read an answer; the connection is dropped */
  constructor(
    private readonly client: Client,
    onNonsense: (error: unknown) => void,
  ) {
    this.manager = managerOf(client);
    const { manager } = this;
    const onSocketData = manager.onSocketData.bind(manager);
    const onSocketConnected = manager.onSocketConnected.bind(manager);
    const findNextServer = manager.findNextServer.bind(manager);
    manager.onSocketData = (chunk) => {
      try {
        onSocketData(chunk);
      } catch (error) {
        onNonsense(error);
        this.dropConnection();
      }
    };
    manager.onSocketConnected = () => {
      manager.pendingBuffer = null;
      onSocketConnected();
    };
    manager.findNextServer = (connect) => {
      findNextServer((server) => {
        if (!this.isDisposed) connect(server);
      });
    };
  }

  /** Leaves the server; the client goes on with the next one, in the same session. */
  dropConnection(): void {
    this.manager.socket?.destroy();
  }

  /** Ends the session at the server. Only while connected: the client writes without looking whether it can. */
  closeSession(): void {
    this.client.close();
  }

  /** Nothing is sent or tried any more, and nothing keeps the process alive. */
  dispose(): void {
    this.isDisposed = true;
    clearTimeout(this.manager.connectTimeoutHandler);
    this.dropConnection();
  }
}

function managerOf(client: Client): ConnectionManager {
  const { connectionManager } = client as Client & { connectionManager?: Partial<ConnectionManager> };
  const names = ['onSocketData', 'onSocketConnected', 'findNextServer'] as const;
  if (connectionManager && names.every((name) => typeof connectionManager[name] === 'function')) {
    return connectionManager as ConnectionManager;
  }
  throw new ConfigurationError('zookeeperLockStore() needs node-zookeeper-client 1.1; another version is installed.');
}
