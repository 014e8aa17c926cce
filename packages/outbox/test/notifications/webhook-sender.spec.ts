import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { eventually } from '@lockstep/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sendWebhook, type WebhookRequest } from '../../src/notifications/delivery/webhook-sender.js';
import { AddressGuard } from '../../src/notifications/target/address-guard.js';
import { guardedLookup, systemResolver } from '../../src/notifications/target/guarded-lookup.js';

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n';

describe('What a webhook is answered', () => {
  const sockets: Socket[] = [];
  let server: Server;
  let answer: (socket: Socket) => void;
  let abort: AbortController;

  beforeEach(async () => {
    abort = new AbortController();
    server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => socket.destroy());
      socket.once('data', () => answer(socket));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  const send = (init: Partial<WebhookRequest> = {}) =>
    sendWebhook({
      target: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`),
      headers: {},
      body: '{}',
      timeoutMs: 10_000,
      lookup: guardedLookup(systemResolver, new AddressGuard(['127.0.0.1'], 'targets.allow')),
      signal: abort.signal,
      ...init,
    });

  it('counts though a shutdown breaks off the rest of it', async () => {
    answer = (socket) => socket.write(HEAD);
    const onAnswer = () => setImmediate(() => abort.abort());
    subscribe('http.client.response.finish', onAnswer);
    try {
      expect(await send()).toEqual({ status: 200, retryAfter: undefined });
    } finally {
      unsubscribe('http.client.response.finish', onAnswer);
    }
  });

  it('is nothing where a shutdown comes before it', async () => {
    answer = () => abort.abort();
    await expect(send()).rejects.toThrow('aborted');
  });

  it('is waited for no longer than the attempt may take, its rest included', async () => {
    answer = (socket) => socket.write(HEAD);
    const begun = performance.now();
    expect(await send({ timeoutMs: 300 })).toMatchObject({ status: 200 });
    expect(performance.now() - begun).toBeLessThan(900);
  });

  it('ends the connection, also before all was sent', async () => {
    answer = (socket) => {
      socket.pause();
      socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n');
    };
    const clients: Socket[] = [];
    const onSocket = (message: unknown) => void clients.push((message as { readonly socket: Socket }).socket);
    subscribe('net.client.socket', onSocket);
    try {
      expect(await send({ body: 'x'.repeat(50_000_000) })).toMatchObject({ status: 413 });
      expect(clients).toHaveLength(1);
      await eventually(() => expect(clients[0]?.destroyed).toBe(true));
    } finally {
      unsubscribe('net.client.socket', onSocket);
    }
  });
});
