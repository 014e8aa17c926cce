import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { ConfigurationError, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { RedisClient } from '@lockstep/redis';
import { eventually, freePort, type RedisServer, startFakeRedis, startRedis } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { appendScript } from './support/append.script.js';
import { type Opened, openConnection } from './support/open-connection.js';

const TIMEOUT_MS = 300;
let server: RedisServer;
let opened: Opened | undefined;

beforeAll(async () => {
  server = await startRedis();
});
afterEach(async () => {
  server.resume();
  await opened?.app.close();
});
afterAll(() => server.stop());

async function open(url = server.url): Promise<Opened> {
  opened = await openConnection({ url }, 'connection', TIMEOUT_MS);
  return opened;
}

async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => expect.fail('it should have failed'),
    (error: unknown) => error,
  );
}

describe('a connection', () => {
  it('serves the first operation after boot, though it is not yet ready', async () => {
    const { connection } = await open();
    expect(await appendScript(connection).run({ entity: randomUUID(), text: 'a' })).toBe('a');
  });

  it('says not-applied, within the command timeout, when there is no server', async () => {
    const { connection } = await open(`redis://127.0.0.1:${await freePort()}`);
    const startedAt = monotonicMs();
    const error = await failure(appendScript(connection).run({ entity: 'e', text: 'a' }));
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect(error).toMatchObject({ outcome: 'not-applied', kind: 'unavailable', retryAfterMs: expect.any(Number) });
    expect(monotonicMs() - startedAt).toBeLessThan(TIMEOUT_MS * 3);
    expect(opened?.incidents.map(({ code }) => code)).toContain('REDIS_CONNECTION');
  });

  it('says unknown when the server has the command and does not answer', async () => {
    const { connection } = await open();
    await connection.command('test', 'ping');
    server.pause();
    expect(await failure(connection.command('test', 'ping'))).toMatchObject({ outcome: 'unknown' });
    server.resume();
    expect(await eventually(() => connection.command('test', 'ping'))).toBe('PONG');
  });

  it('comes back by itself after a restart of the server, with its scripts', async () => {
    const { connection } = await open();
    const script = appendScript(connection);
    const entity = randomUUID();
    await script.run({ entity, text: 'a' });
    await server.restart({ empty: true });
    expect(await eventually(() => script.run({ entity, text: 'b' }))).toBe('b');
  });

  it('never sends later what could not be sent in time', async () => {
    const { connection } = await open();
    await connection.command('test', 'ping');
    await server.kill();
    await eventually(async () =>
      expect(await failure(connection.command('test', 'set', 'late', '1'))).toMatchObject({ outcome: 'not-applied' }),
    );
    await server.restart();
    await eventually(() => connection.command('test', 'ping'));
    expect(await connection.command('test', 'get', 'late')).toBeNull();
  });

  it('lets any number of operations wait for it without a warning of Node', async () => {
    const warnings: string[] = [];
    const note = (warning: Error): number => warnings.push(warning.name);
    process.on('warning', note);
    const { connection } = await open(`redis://127.0.0.1:${await freePort()}`);
    await Promise.allSettled(Array.from({ length: 50 }, () => connection.command('test', 'ping')));
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('leaves a master that was demoted when an item of a script meets it', async () => {
    const demoted = await startRedis();
    const { connection } = await open(demoted.url);
    const script = appendScript(connection);
    await script.run({ entity: 'e', text: 'a' });
    const before = await connection.command('test', 'client', 'id');
    await connection.command('test', 'replicaof', '127.0.0.1', String(server.port));
    expect(await failure(script.run({ entity: 'e', text: 'b' }))).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await eventually(async () => expect(await connection.command('test', 'client', 'id')).not.toBe(before));
    await demoted.stop();
  });

  it('refuses a server older than 6.2 with every operation, but lets the application start', async () => {
    const old = await startFakeRedis({ version: '5.0.14', replies: { TIME: '*2\r\n$1\r\n1\r\n$1\r\n0\r\n' } });
    const { connection } = await open(old.url);
    for (const _ of [1, 2]) {
      const error = await failure(appendScript(connection).run({ entity: 'e', text: 'a' }));
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(String(error)).toContain('Redis is version 5.0.14; Lockstep needs 6.2 or newer');
    }
    await old.stop();
  });

  it('warns of a server that may evict keys', async () => {
    const evicting = await startRedis({ args: ['--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lru'] });
    const { connection, incidents } = await open(evicting.url);
    await connection.command('test', 'ping');
    expect(incidents).toMatchObject([{ code: 'REDIS_EVICTS', fields: { policy: 'allkeys-lru' } }]);
    await evicting.stop();
  });

  it('knows the time of the server within the bound that it states', async () => {
    const { connection } = await open();
    expect(connection.serverTimeBoundMs()).toBe(Number.POSITIVE_INFINITY);
    await connection.command('test', 'ping');
    // Server and test share one clock here.
    expect(Math.abs(connection.serverTimeMs() - Date.now())).toBeLessThan(connection.serverTimeBoundMs() + 3);
    expect(connection.serverTimeBoundMs()).toBeLessThan(100);
  });
});

describe('a client of the application', () => {
  it('is duplicated with safe settings, and neither used nor closed', async () => {
    const own = new Redis(server.url, { keyPrefix: 'theirs:', db: 3, enableOfflineQueue: true });
    own.on('error', () => undefined); // it loses its server below, as the connection does
    await own.ping();
    opened = await openConnection({ client: own }, 'connection', TIMEOUT_MS);
    const { connection } = opened;
    await connection.command('test', 'set', connection.key('k', 'e'), 'v');
    expect(await own.call('keys', ['*'])).toEqual(['connection:k:{e}']);
    await server.kill();
    await eventually(async () =>
      expect(await failure(connection.command('test', 'ping'))).toMatchObject({ outcome: 'not-applied' }),
    );
    await server.restart();
    await opened.app.close();
    await eventually(() => own.ping());
    own.disconnect();
  });

  it.each([
    ['standalone', false],
    ['cluster', true],
  ])(
    'of another make is accepted when it has the same shape, and never resends or queues: %s',
    async (_, isCluster) => {
      const duplicates: unknown[][] = [];
      const commands: string[] = [];
      const fake: RedisClient & { isCluster: boolean } = {
        status: 'ready',
        isCluster,
        options: { redisOptions: { password: 'theirs', keyPrefix: 'theirs:' } },
        call: async (command) => {
          commands.push(command);
          return command === 'time' ? ['1', '0'] : 'redis_version:7.0.0\r\n';
        },
        duplicate: (...overrides) => {
          duplicates.push(overrides);
          return fake;
        },
        on: () => fake,
        off: () => fake,
        disconnect: () => undefined,
      };
      opened = await openConnection({ client: fake }, 'connection');
      await opened.connection.command('test', 'ping');
      expect(commands).toContain('ping');
      expect(opened.connection.isCluster).toBe(isCluster);
      const safe = {
        autoResendUnfulfilledCommands: false,
        maxRetriesPerRequest: 0,
        commandTimeout: 300,
        keyPrefix: '',
      };
      expect(duplicates).toEqual([
        isCluster
          ? [
              [],
              expect.objectContaining({
                retryDelayOnFailover: 0,
                redisOptions: expect.objectContaining({ ...safe, password: 'theirs' }),
              }),
            ]
          : [expect.objectContaining({ ...safe, enableOfflineQueue: false })],
      ]);
    },
  );

  it('that is a Cluster gets no command while it would keep it for later', async () => {
    const commands: string[] = [];
    const fake = {
      status: 'ready',
      isCluster: true,
      options: {},
      call: async (command: string) => {
        commands.push(command);
        return command === 'time' ? ['1', '0'] : 'redis_version:7.0.0\r\n';
      },
      duplicate: () => fake,
      on: () => fake,
      off: () => fake,
      disconnect: () => undefined,
    };
    opened = await openConnection({ client: fake }, 'connection');
    await opened.connection.command('test', 'ping');
    fake.status = 'disconnecting';
    const late = opened.connection.command('test', 'set', 'k', 'v');
    expect(await failure(late)).toMatchObject({ outcome: 'not-applied' });
    expect(commands).not.toContain('set');
  });
});

describe('pushes', () => {
  it('reach every subscriber over one connection, until it leaves', async () => {
    const { connection } = await open();
    const channel = randomUUID();
    const heard: string[] = [];
    const leave = await connection.subscribe(channel, (message) => heard.push(`one ${message}`));
    await connection.subscribe(channel, (message) => heard.push(`two ${message}`));
    const clients = String(await connection.command('test', 'client', 'list', 'type', 'pubsub'));
    expect(clients.trim().split('\n')).toHaveLength(1);
    await connection.command('test', 'publish', channel, 'a');
    await eventually(() => expect(heard).toEqual(['one a', 'two a']));
    await leave();
    await connection.command('test', 'publish', channel, 'b');
    await eventually(() => expect(heard).toEqual(['one a', 'two a', 'two b']));
  });

  it('tell of a gap once the channel is live again', async () => {
    const { connection } = await open();
    const channel = randomUUID();
    const heard: string[] = [];
    await connection.subscribe(
      channel,
      (message) => heard.push(message),
      () => heard.push('again'),
    );
    await connection.command('test', 'client', 'kill', 'type', 'pubsub');
    await eventually(() => expect(heard).toEqual(['again']));
    await connection.command('test', 'publish', channel, 'a');
    await eventually(() => expect(heard).toEqual(['again', 'a']));
  });

  it('leave nothing subscribed at the server when all have left', async () => {
    const { connection } = await open();
    const channel = randomUUID();
    const leave = await connection.subscribe(channel, () => undefined);
    await leave();
    expect(await connection.command('test', 'pubsub', 'numsub', channel)).toEqual([channel, 0]);
  });

  it('that cannot be had are unavailable', async () => {
    const { connection } = await open(`redis://127.0.0.1:${await freePort()}`);
    expect(await failure(connection.subscribe('c', () => undefined))).toBeInstanceOf(StoreUnavailableError);
  });
});

describe('wrong options', () => {
  it.each([
    [{ url: 'http://x', namespace: 'n' }, "Option 'url' is 'http://x'"],
    [{ url: 'redis://x', namespace: 'a:b' }, "Option 'namespace' is 'a:b'"],
    [{ namespace: 'n' }, 'either `url` or `client`; both are undefined'],
    [{ url: undefined, namespace: 'n' }, 'either `url` or `client`; both are undefined'],
  ])('%j fail at boot, naming the option and the value', async (options, message) => {
    await expect(openConnection(options as { url: string }, options.namespace)).rejects.toThrow(message);
  });
});
