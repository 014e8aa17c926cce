import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { HttpConnection } from '../src/harness/http-connection.js';
import { HttpClient } from '../src/session/http-clients.js';
import { expectAnswer } from '../src/session/server-contestant.js';

let server: Server;
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** Gives out one cookie and answers requests that bring it as `visits` says. */
async function listening(visits: () => { status: number; count: number }): Promise<number> {
  server = createServer((request, response) => {
    if (request.url?.startsWith('/login/')) {
      response.writeHead(201, { 'Set-Cookie': 'sid=one; Path=/; HttpOnly', 'Content-Length': 0 }).end();
      return;
    }
    const { status, count } = request.headers.cookie === 'sid=one' ? visits() : { status: 401, count: 0 };
    response.statusCode = status;
    response.end(JSON.stringify({ count }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

test('a client asks with the cookie of its own login, and finds its writes kept', async () => {
  let count = 0;
  const port = await listening(() => ({ status: 201, count: ++count }));
  const client = await HttpClient.open(port, 'write');
  const connection = await HttpConnection.open(port);
  await expectAnswer(connection, client, 'write');
  await expectAnswer(connection, client, 'write');
  connection.close();
  await expect(client.expectKept(2)).resolves.toBeUndefined();
});

test('a contestant that answers and does not keep the write fails', async () => {
  const port = await listening(() => ({ status: 201, count: 1 }));
  const client = await HttpClient.open(port, 'write');
  await expect(client.expectKept(1)).rejects.toThrow('keeps 1 of 2 writes');
});

test('a contestant that lost the session fails, however fast it answers', async () => {
  const port = await listening(() => ({ status: 401, count: 0 }));
  const client = await HttpClient.open(port, 'write');
  const connection = await HttpConnection.open(port);
  await expect(expectAnswer(connection, client, 'write')).rejects.toThrow('answered 401 instead of 201');
  connection.close();
});
