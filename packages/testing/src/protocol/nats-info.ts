import { once } from 'node:events';
import { connect } from 'node:net';

/** What a NATS server says about itself to everybody who connects. */
export interface NatsInfo {
  readonly server_name: string;
  readonly version: string;
  readonly jetstream?: boolean;
}

const PATIENCE_MS = 2_000;

/**
 * Reads the greeting of a NATS server.
 * @throws Error when nobody listens, or nothing that greets as NATS does
 */
export async function natsInfo({ host, port }: { host: string; port: number }): Promise<NatsInfo> {
  const socket = connect({ host, port });
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('The server does not greet')));
  try {
    let greeting = '';
    while (!greeting.includes('\r\n')) greeting += String((await once(socket, 'data'))[0]);
    const info = /^INFO (\{.*\})\s*\r\n/.exec(greeting)?.[1];
    if (info === undefined) throw new Error(`The server does not greet as NATS does: ${greeting.slice(0, 100)}`);
    return JSON.parse(info) as NatsInfo;
  } finally {
    socket.destroy();
  }
}
