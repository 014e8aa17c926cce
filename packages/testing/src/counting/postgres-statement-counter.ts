import { type AddressInfo, connect, createServer } from 'node:net';
import { PostgresFrames } from '../protocol/postgres-frames.js';

export interface StatementCounter {
  /** Way to the server past the counter. */
  readonly url: string;
  /** Statements that were sent since the last call. */
  take(): number;
  stop(): Promise<void>;
}

/** Counts what the clients behind `url` let the server execute, on the wire: `Query` and `Execute` messages. */
export async function startStatementCounter(target: string): Promise<StatementCounter> {
  const { hostname, port } = new URL(target);
  let count = 0;
  const server = createServer((client) => {
    const upstream = connect({ host: hostname, port: Number(port) });
    const frames = new PostgresFrames(1);
    client.on('data', (chunk) => {
      for (const { type } of frames.add(chunk)) if (type === 'Q' || type === 'E') count += 1;
    });
    client.pipe(upstream).pipe(client);
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(target);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: url.href,
    take: () => {
      const taken = count;
      count = 0;
      return taken;
    },
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
