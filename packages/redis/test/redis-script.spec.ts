import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { ConfigurationError } from '@lockstep/core';
import { RedisScriptError } from '@lockstep/redis';
import { type RedisServer, redisCommandCounter, startRedis } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AppendItem, appendDefinition, appendScript } from './support/append.script.js';
import { type Opened, openConnection } from './support/open-connection.js';

// A server of its own, because the commands of others would be counted too.
let server: RedisServer;
let redis: Opened;
beforeAll(async () => {
  server = await startRedis();
  redis = await openConnection({ url: server.url }, 'script', 1_000);
});
afterAll(async () => {
  await redis?.app.close();
  await server?.stop();
});

/** The commands that `work` sends, the script being known to the server. */
async function commandsOf(work: () => Promise<unknown>): Promise<string[]> {
  await appendScript(redis.connection).run({ entity: 'warm', text: 'x' });
  const counter = await redisCommandCounter(server.url);
  await work();
  const commands = await counter.commands();
  counter.stop();
  return commands;
}

function items(count: number, text = 'x') {
  return Array.from({ length: count }, () => ({ entity: randomUUID(), text }));
}

describe('a script', () => {
  it('sends the calls of one tick as one command', async () => {
    const script = appendScript(redis.connection);
    const commands = await commandsOf(() => Promise.all(items(64).map((item) => script.run(item))));
    expect(commands).toEqual(['EVALSHA']);
  });

  it('sends at most 128 items in one command', async () => {
    const script = appendScript(redis.connection);
    const commands = await commandsOf(() => Promise.all(items(300).map((item) => script.run(item))));
    expect(commands).toEqual(['EVALSHA', 'EVALSHA', 'EVALSHA']);
  });

  it('sends at most 64 KiB in one command, but any single item', async () => {
    const script = appendScript(redis.connection);
    const big = items(3, 'x'.repeat(40_000));
    const commands = await commandsOf(() => Promise.all(big.map((item) => script.run(item))));
    expect(commands).toEqual(['EVALSHA', 'EVALSHA', 'EVALSHA']);
    expect(await script.run({ entity: randomUUID(), text: 'y'.repeat(100_000) })).toHaveLength(100_000);
  });

  it('keeps the order of the calls', async () => {
    const script = appendScript(redis.connection);
    const entity = randomUUID();
    const results = await Promise.all(['a', 'b', 'c'].map((text) => script.run({ entity, text })));
    expect(results).toEqual(['a', 'ab', 'abc']);
  });

  it('lets one bad item fail alone', async () => {
    const script = appendScript(redis.connection);
    const list = redis.connection.key('append', 'list');
    await redis.connection.command('test', 'rpush', list, 'x');
    const calls = ['a', 'raise', 'b'].map((text) => script.run({ entity: randomUUID(), text }));
    const settled = await Promise.allSettled([...calls, script.run({ entity: 'list', text: 'c' })]);
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected']);
    expect(settled[1]).toMatchObject({ reason: expect.any(RedisScriptError) });
    expect(settled[3]).toMatchObject({ reason: { code: 'REDIS_SCRIPT_FAILED', kind: 'unknown' } });
  });

  it('keeps the results behind one that returned nothing', async () => {
    const script = appendScript(redis.connection);
    const results = await Promise.all(['nothing', 'a'].map((text) => script.run({ entity: randomUUID(), text })));
    expect(results).toEqual([null, 'a']);
  });

  it('rejects the call whose reply cannot be read, and no other', async () => {
    const read = (reply: unknown): unknown => {
      if (reply === 'a') throw new Error('no sense');
      return reply;
    };
    const script = redis.connection.script({ ...appendDefinition(redis.connection), read });
    const settled = await Promise.allSettled(['a', 'b'].map((text) => script.run({ entity: randomUUID(), text })));
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  });

  it('is loaded again when the server has forgotten it', async () => {
    const script = appendScript(redis.connection);
    const entity = randomUUID();
    expect(await script.run({ entity, text: 'a' })).toBe('a');
    await redis.connection.command('test', 'script', 'flush');
    expect(await script.run({ entity, text: 'b' })).toBe('ab');
    expect(await script.run({ entity, text: 'c' })).toBe('abc');
  });

  it('tells the reader the time of the server', async () => {
    const read = (_reply: unknown, serverMs: number): number => serverMs;
    const script = redis.connection.script({ ...appendDefinition(redis.connection), read });
    const [seconds] = (await redis.connection.command('test', 'time')) as [string, string];
    expect(Math.abs((await script.run({ entity: randomUUID(), text: 'x' })) - Number(seconds) * 1_000)).toBeLessThan(
      2_000,
    );
  });

  it('refuses a definition that does not fit its Lua, before anything is sent', () => {
    const definition = appendDefinition(redis.connection);
    expect(() => redis.connection.script({ ...definition, argCount: 2 })).toThrow(ConfigurationError);
    expect(() => redis.connection.script({ ...definition, keyCount: 0, argCount: 2 })).toThrow(ConfigurationError);
  });

  it('refuses a call that does not fit its definition, alone', async () => {
    const args = ({ text }: AppendItem): string[] => (text === 'a' ? [] : [text]);
    const script = redis.connection.script({ ...appendDefinition(redis.connection), args });
    const settled = await Promise.allSettled(['a', 'b'].map((text) => script.run({ entity: randomUUID(), text })));
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  });

  it('runs in the order in which scripts were made, whatever the order of the calls of a tick', async () => {
    const first = appendScript(redis.connection);
    const second = appendScript(redis.connection);
    const entity = randomUUID();
    const late = second.run({ entity, text: '2' });
    const early = first.run({ entity, text: '1' });
    expect(await Promise.all([early, late])).toEqual(['1', '12']);
  });
});
