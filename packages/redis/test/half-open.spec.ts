import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { ConfigurationError, monotonicMs } from '@lockstep/core';
import type { RedisClient } from '@lockstep/redis';
import { eventually, type FaultProxy, type RedisServer, startFaultProxy, startRedis } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Opened, openConnection } from './support/open-connection.js';
import { splitClient } from './support/split-client.js';

const TIMEOUT_MS = 400;
let server: RedisServer;
let proxy: FaultProxy;
let opened: Opened;

beforeAll(async () => {
  server = await startRedis();
});
beforeEach(async () => {
  proxy = await startFaultProxy({ target: server.url });
  opened = await openConnection({ url: proxy.urlFor(server.url) }, 'half-open', TIMEOUT_MS);
  await opened.connection.command('test', 'ping');
});
afterEach(async () => {
  server.resume();
  await opened.app.close();
  await proxy.stop();
});
afterAll(() => server.stop());

/** What became of each of many commands, sent until one is answered. */
async function sendUntilAnswered(): Promise<string[]> {
  const outcomes: string[] = [];
  const note = (outcome: string): number => outcomes.push(outcome);
  const deadline = { timeoutMs: TIMEOUT_MS * 8, intervalMs: 20 };
  await eventually(() => {
    const sent = opened.connection.command('test', 'ping');
    void sent.then(
      () => note('answered'),
      ({ outcome }) => note(outcome),
    );
    expect(outcomes).toContain('answered');
  }, deadline);
  return outcomes;
}

describe('a half-open connection', () => {
  it('is replaced though commands are sent on it all the time', async () => {
    proxy.halfOpen();
    const startedAt = monotonicMs();
    await sendUntilAnswered();
    expect(monotonicMs() - startedAt).toBeLessThan(TIMEOUT_MS * 6);
  });

  it('that is being replaced keeps operations waiting for the next, instead of failing them', async () => {
    proxy.halfOpen();
    expect(new Set(await sendUntilAnswered())).toEqual(new Set(['unknown', 'answered']));
  });
});

describe('a connection for pushes that is half-open', () => {
  it('is replaced though the one for commands is healthy, and the gap is told', { timeout: 20_000 }, async () => {
    const heard: string[] = [];
    const direct = await openConnection({ url: server.url }, 'half-open', TIMEOUT_MS);
    const split = await openConnection(
      { client: splitClient({ commandUrl: server.url, pushUrl: proxy.urlFor(server.url) }) },
      'half-open',
      100,
    );
    const channel = randomUUID();
    await split.connection.subscribe(
      channel,
      (message) => heard.push(message),
      () => heard.push('again'),
    );
    proxy.halfOpen();
    const lost = await direct.connection.command('test', 'publish', channel, 'lost');
    expect(lost).toBe(0);
    await eventually(() => expect(heard).toEqual(['again']), { timeoutMs: 10_000 });
    await direct.connection.command('test', 'publish', channel, 'a');
    await eventually(() => expect(heard).toEqual(['again', 'a']));
    expect(split.incidents.map(({ message }) => message)).toContain('the connection for pushes is half-open');
    await Promise.all([split.app.close(), direct.app.close()]);
  });
});

describe('a command that gets no answer', () => {
  it('is given up in time though one before it was given up just now', async () => {
    server.pause();
    await expect(opened.connection.command('test', 'ping')).rejects.toMatchObject({ outcome: 'unknown' });
    const startedAt = monotonicMs();
    await expect(opened.connection.command('test', 'ping')).rejects.toMatchObject({ outcome: 'unknown' });
    expect(monotonicMs() - startedAt).toBeLessThan(TIMEOUT_MS * 1.75);
  });
});

/** A client whose state and events a test decides. */
class ScriptedClient extends EventEmitter implements RedisClient {
  readonly options = {};
  readonly sent: string[] = [];
  readonly left: boolean[] = [];
  status = 'ready';
  answers: (command: string) => Promise<unknown> = async (command) =>
    command === 'time' ? ['1', '0'] : 'redis_version:7.0.0\r\n';

  constructor(private readonly others: RedisClient[] = []) {
    super();
  }

  call(command: string): Promise<unknown> {
    this.sent.push(command);
    return this.answers(command);
  }

  duplicate(): RedisClient {
    return this.others.shift() ?? this;
  }

  disconnect(reconnect = false): void {
    this.left.push(reconnect);
  }
}

describe('a connection for pushes that was being made when the one for commands was replaced', () => {
  it('is made once more, because it may lead to a server that is the master no longer', async () => {
    const [commands, pushes] = [new ScriptedClient(), new ScriptedClient()];
    pushes.status = 'connect';
    const client = new ScriptedClient([commands, pushes]);
    const { app, connection } = await openConnection({ client }, 'half-open', TIMEOUT_MS);
    commands.emit('ready');
    const subscribed = connection.subscribe('c', () => undefined);
    commands.emit('close');
    commands.emit('ready');
    expect(pushes.left).toEqual([]); // a client that is looking for its server would end for good
    pushes.status = 'ready';
    pushes.emit('ready');
    await new Promise(setImmediate);
    expect([pushes.left, pushes.sent]).toEqual([[true], []]);
    pushes.emit('close');
    pushes.emit('ready');
    await subscribed;
    expect(pushes.left).toEqual([true]);
    expect(pushes.sent).toContain('subscribe');
    await app.close();
  });
});

describe('a server that takes the place of another while that is being checked', () => {
  it('is checked itself before anything is sent to it', async () => {
    const infos: ((version: string) => void)[] = [];
    const commands = new ScriptedClient();
    commands.answers = (command) => {
      if (command !== 'info') return Promise.resolve(['1', '0']);
      return new Promise((resolve) => infos.push((version) => resolve(`redis_version:${version}\r\n`)));
    };
    const client = new ScriptedClient([commands]);
    const { app, connection } = await openConnection({ client }, 'half-open', TIMEOUT_MS);
    commands.emit('ready');
    infos[0]?.('7.0.0');
    commands.emit('close');
    commands.emit('ready');
    await new Promise(setImmediate); // the answers of the first have arrived
    expect(infos).toHaveLength(2);
    const asked = connection.command('test', 'ping').catch((error: unknown) => error);
    infos[1]?.('5.0.14');
    expect(await asked).toBeInstanceOf(ConfigurationError);
    expect(commands.sent).not.toContain('ping');
    await app.close();
  });
});
