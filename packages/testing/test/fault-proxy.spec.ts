import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { eventually, type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const { url, prefix } = useRedis();
let proxy: FaultProxy;
let client: Redis;

beforeEach(async () => {
  proxy = await startFaultProxy({ target: url });
  client = new Redis(proxy.urlFor(url), { maxRetriesPerRequest: 0, retryStrategy: () => null, commandTimeout: 300 });
  client.on('error', () => undefined);
  await client.ping();
});
afterEach(async () => {
  client.disconnect();
  await proxy.stop();
});

async function direct<T>(work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url);
  try {
    return await work(redis);
  } finally {
    redis.disconnect();
  }
}

async function rawConnection(): Promise<Socket> {
  const socket = connect(proxy.port, proxy.host);
  await once(socket, 'connect');
  return socket;
}

describe('startFaultProxy()', () => {
  it('carries bytes unchanged, also large ones, and counts connections', async () => {
    const large = 'x'.repeat(3_000_000);
    await client.set(`${prefix}:large`, large, 'EX', 10);
    expect(await client.get(`${prefix}:large`)).toBe(large);
    expect(proxy.connections).toBe(1);
    client.disconnect();
    await eventually(() => expect(proxy.connections).toBe(0));
  });

  it('delays each direction by at least the given time and keeps the order', async () => {
    proxy.delay(60);
    const startedAt = performance.now();
    const answers = await Promise.all([client.echo('1'), client.echo('2')]);
    expect(answers).toEqual(['1', '2']);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(119);
    await proxy.heal();
    const healedAt = performance.now();
    await client.ping();
    expect(performance.now() - healedAt).toBeLessThan(60);
  });

  it('cut() resets what is open and lets new connections in', async () => {
    const socket = await rawConnection();
    await eventually(() => expect(proxy.connections).toBe(2));
    const closed = once(socket, 'error');
    proxy.cut();
    const [error] = (await closed) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNRESET');
    await eventually(() => expect(client.status).toBe('end'));
    await client.connect();
    expect(await client.ping()).toBe('PONG');
  });

  it('refuse() closes the door and leaves guests inside', async () => {
    proxy.refuse();
    await expect(rawConnection()).rejects.toThrow('ECONNREFUSED');
    expect(await client.ping()).toBe('PONG');
    await proxy.heal();
    (await rawConnection()).destroy();
  });

  it('a blackhole towards the client lets the command take effect and hides the answer until healed', async () => {
    proxy.blackhole({ direction: 'toClient' });
    await expect(client.set(`${prefix}:effect`, '1', 'EX', 10)).rejects.toThrow('Command timed out');
    expect(await direct((redis) => redis.get(`${prefix}:effect`))).toBe('1');
    await proxy.heal();
    expect(await client.get(`${prefix}:effect`)).toBe('1');
  });

  it('a blackhole towards the server keeps the command away until healed, then delivers it late', async () => {
    proxy.blackhole({ direction: 'toServer' });
    await expect(client.set(`${prefix}:late`, '1', 'EX', 10)).rejects.toThrow('Command timed out');
    expect(await direct((redis) => redis.exists(`${prefix}:late`))).toBe(0);
    await proxy.heal();
    await eventually(async () => expect(await direct((redis) => redis.exists(`${prefix}:late`))).toBe(1));
  });

  it('a blackhole also holds what is already on its way', async () => {
    proxy.delay(150, 'toClient');
    const late = expect(client.set(`${prefix}:held`, '1', 'EX', 10)).rejects.toThrow('Command timed out');
    await eventually(async () => expect(await direct((redis) => redis.exists(`${prefix}:held`))).toBe(1));
    proxy.blackhole(); // the answer waits in the proxy for its delay to be over
    await late;
  });

  it('a blackhole holds for connections that come later', async () => {
    proxy.blackhole();
    const late = new Redis(proxy.urlFor(url), { lazyConnect: true, commandTimeout: 200, retryStrategy: () => null });
    late.on('error', () => undefined);
    await expect(late.ping()).rejects.toThrow();
    late.disconnect();
  });

  it('dropAfter(0) resets instead of answering, after the command took effect', async () => {
    proxy.dropAfter(0);
    await expect(client.set(`${prefix}:unknown`, '1', 'EX', 10)).rejects.toThrow();
    expect(await direct((redis) => redis.get(`${prefix}:unknown`))).toBe('1');
  });

  it('dropAfter(n) lets exactly n bytes through', async () => {
    const socket = await rawConnection();
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString();
    });
    const closed = new Promise((resolve) => socket.on('error', () => undefined).once('close', resolve));
    proxy.dropAfter(5);
    socket.write('PING\r\n');
    await closed;
    expect(received).toBe('+PONG');
  });

  it('halfOpen() is seen by the server and not by the client', async () => {
    const name = `${prefix.slice(0, 8)}half`;
    await client.client('SETNAME', name);
    proxy.halfOpen();
    await eventually(async () => expect(await direct((redis) => redis.client('LIST'))).not.toContain(name));
    expect(client.status).toBe('ready');
    await expect(client.ping()).rejects.toThrow('Command timed out');
    await proxy.heal();
    await eventually(() => expect(client.status).toBe('end'));
  });
});
