import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { eventually, type RedisServer, startRedis } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Opened, openConnection } from './support/open-connection.js';

const TIMEOUT_MS = 300;
let server: RedisServer;
let opened: Opened;

beforeAll(async () => {
  server = await startRedis();
});
beforeEach(async () => {
  opened = await openConnection({ url: server.url }, 'pushes', TIMEOUT_MS);
});
afterEach(() => opened.app.close());
afterAll(() => server.stop());

describe('a listener', () => {
  it('runs in the context in which it subscribed, not in that of whoever opened the connection', async () => {
    const { connection } = opened;
    const user = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const [first, second] = [randomUUID(), randomUUID()];
    await user.run('ann', () => connection.subscribe(first, () => undefined));
    await user.run('bob', () => connection.subscribe(second, () => seen.push(user.getStore())));
    await connection.command('test', 'publish', second, 'a');
    await eventually(() => expect(seen).toEqual(['bob']));
  });

  it('that throws or rejects is reported, and keeps nothing from the others', async () => {
    const { connection, incidents } = opened;
    const channel = randomUUID();
    const heard: string[] = [];
    await connection.subscribe(channel, () => {
      throw new Error('a listener that throws');
    });
    const rejecting = async (): Promise<void> => {
      throw new Error('a listener that rejects');
    };
    await connection.subscribe(channel, rejecting as () => unknown);
    await connection.subscribe(channel, (message) => heard.push(message));
    await connection.command('test', 'publish', channel, 'a');
    await eventually(() => expect(heard).toEqual(['a']));
    const causes = incidents.map(({ cause }) => String(cause));
    expect(causes).toEqual(['Error: a listener that throws', 'Error: a listener that rejects']);
  });
});

describe('a channel', () => {
  it('that could not be subscribed again is tried until it is live, though the connection stands', async () => {
    const { connection, incidents } = opened;
    const channel = randomUUID();
    const heard: string[] = [];
    await connection.subscribe(
      channel,
      (message) => heard.push(message),
      () => heard.push('again'),
    );
    await connection.command('test', 'acl', 'setuser', 'default', 'resetchannels');
    await connection.command('test', 'client', 'kill', 'type', 'pubsub');
    await eventually(() => expect(incidents.map(({ cause }) => String(cause)).join()).toContain('NOPERM'));
    expect(heard).toEqual([]);
    await connection.command('test', 'acl', 'setuser', 'default', 'allchannels');
    await eventually(() => expect(heard).toEqual(['again']));
    await connection.command('test', 'publish', channel, 'a');
    await eventually(() => expect(heard).toEqual(['again', 'a']));
  });

  it('cannot be subscribed after the end, and opens no connection that nobody would close', async () => {
    const { app, connection } = opened;
    await app.close();
    await expect(connection.subscribe(randomUUID(), () => undefined)).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      outcome: 'not-applied',
    });
    const other = await openConnection({ url: server.url }, 'pushes', TIMEOUT_MS);
    const clients = String(await other.connection.command('test', 'client', 'list'));
    await other.app.close();
    expect(clients.trim().split('\n')).toHaveLength(1);
  });
});
