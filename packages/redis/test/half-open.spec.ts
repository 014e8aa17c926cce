import 'reflect-metadata';
import { EventEmitter } from 'node:events';
import { ConfigurationError, monotonicMs } from '@lockstep/core';
import type { RedisClient } from '@lockstep/redis';
import { eventually, type FaultProxy, type RedisServer, startFaultProxy, startRedis } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Opened, openConnection } from './support/open-connection.js';

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

describe('a command that gets no answer', () => {
  it('is given up in time though one before it was given up just now', async () => {
    server.pause();
    await expect(opened.connection.command('test', 'ping')).rejects.toMatchObject({ outcome: 'unknown' });
    const startedAt = monotonicMs();
    await expect(opened.connection.command('test', 'ping')).rejects.toMatchObject({ outcome: 'unknown' });
    expect(monotonicMs() - startedAt).toBeLessThan(TIMEOUT_MS * 1.75);
  });
});

describe('a server that takes the place of another while that is being checked', () => {
  it('is checked itself before anything is sent to it', async () => {
    const events = new EventEmitter();
    const infos: ((version: string) => void)[] = [];
    const sent: string[] = [];
    const fake: RedisClient = {
      status: 'ready',
      options: {},
      call: (command) => {
        sent.push(command);
        if (command === 'time') return Promise.resolve(['1', '0']);
        if (command !== 'info') return Promise.resolve('OK');
        return new Promise((resolve) => infos.push((version) => resolve(`redis_version:${version}\r\n`)));
      },
      duplicate: () => fake,
      on: (event, listener) => events.on(event, listener),
      off: (event, listener) => events.off(event, listener),
      disconnect: () => undefined,
    };
    const { app, connection } = await openConnection({ client: fake }, 'half-open', TIMEOUT_MS);
    events.emit('ready');
    infos[0]?.('7.0.0');
    events.emit('close');
    events.emit('ready');
    await new Promise(setImmediate); // the answers of the first have arrived
    expect(infos).toHaveLength(2);
    const asked = connection.command('test', 'ping').catch((error: unknown) => error);
    infos[1]?.('5.0.14');
    expect(await asked).toBeInstanceOf(ConfigurationError);
    expect(sent).not.toContain('ping');
    await app.close();
  });
});
