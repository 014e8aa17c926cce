import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, type RedisServer, ServerStartError, spawnNode, startRedis } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isAlive } from './processes.js';

const clients: Redis[] = [];

function clientOf(server: RedisServer): Redis {
  const client = new Redis(server.url, { maxRetriesPerRequest: 0, retryStrategy: () => 20, commandTimeout: 300 });
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect();
});

describe('startRedis()', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  it('a restart keeps the data and the port', async () => {
    const { url } = server;
    await clientOf(server).set('kept', '1');
    await server.restart();
    expect(server.url).toBe(url);
    expect(await clientOf(server).get('kept')).toBe('1');
  });

  it('an empty restart keeps nothing', async () => {
    await clientOf(server).set('lost', '1');
    await server.restart({ empty: true });
    expect(await clientOf(server).dbsize()).toBe(0);
  });

  it('a paused server keeps its connections and answers once resumed', async () => {
    const client = clientOf(server);
    await client.set('a', '1');
    server.pause();
    await expect(client.get('a')).rejects.toThrow('Command timed out');
    expect(isAlive(server.pid)).toBe(true);
    server.resume();
    await eventually(async () => expect(await client.get('a')).toBe('1'));
  });

  it('stop() ends a paused server too', async () => {
    const paused = await startRedis();
    paused.pause();
    await paused.stop();
    expect(isAlive(paused.pid)).toBe(false);
  });

  it('stop() leaves neither process nor folder, and may come twice', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'lockstep-spec-'));
    const other = await startRedis({ dir });
    await other.stop();
    await other.stop();
    expect(isAlive(other.pid)).toBe(false);
    expect(existsSync(dir)).toBe(true); // a folder that the caller named is the caller's
    rmSync(dir, { recursive: true });
  });

  it('what appendonly=always acknowledged survives a kill', async () => {
    const durable = await startRedis({ appendonly: 'always' });
    await clientOf(durable).set('acknowledged', '1');
    await durable.kill();
    await durable.restart();
    expect(await clientOf(durable).get('acknowledged')).toBe('1');
    await durable.stop();
  });

  it('a start that fails quotes the log of the server', async () => {
    const attempt = startRedis({ args: ['--no-such-option', '1'] });
    await expect(attempt).rejects.toThrow(ServerStartError);
    await expect(attempt).rejects.toThrow('no-such-option');
  });

  it('a port that is taken is an error when the caller named it', async () => {
    const attempt = startRedis({ port: server.port }).then(() => 'started');
    await expect(attempt).rejects.toThrow(/in use/);
    expect(await clientOf(server).ping()).toBe('PONG');
  });
});

describe('servers and the process that started them', () => {
  const fixture = new URL('./fixtures/start-servers.mjs', import.meta.url);

  async function startedPids(child: ReturnType<typeof spawnNode>): Promise<number[]> {
    await child.waitForLine(/^started$/, 20_000);
    return child.lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line).pid as number);
  }

  it('end with a parent that was killed by SIGKILL', async () => {
    const child = spawnNode(fixture, { args: ['redis', 'postgres', 'stay'] });
    const pids = await startedPids(child);
    expect(pids.map(isAlive)).toEqual([true, true]);
    await child.sigkill();
    await eventually(() => expect(pids.map(isAlive)).toEqual([false, false]));
  });

  it('end with a parent that just exits, and do not keep it from doing so', async () => {
    const child = spawnNode(fixture, { args: ['redis'] });
    const pids = await startedPids(child);
    expect(await child.exited).toEqual({ code: 0, signal: null });
    await eventually(() => expect(pids.map(isAlive)).toEqual([false]));
  });
});
