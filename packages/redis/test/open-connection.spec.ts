import 'reflect-metadata';
import { Incidents } from '@lockstep/core';
import { RedisConnection, type ScriptReceiver } from '@lockstep/redis';
import { useRedis } from '@lockstep/testing/vitest';
import { describe, expect, it } from 'vitest';
import { appendDefinition } from './support/append.script.js';

const server = useRedis();

describe('a connection that is opened outside the module', () => {
  it('works as the one of the module, until whoever opened it closes it', async () => {
    const connection = await RedisConnection.open({ url: server.url, namespace: server.prefix }, new Incidents());
    expect(await connection.command('test', 'ping')).toBe('PONG');
    await connection.close();
    await expect(connection.command('test', 'ping')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });

  it('is refused with wrong options', async () => {
    await expect(RedisConnection.open({ url: 'http://a', namespace: 'x' }, new Incidents())).rejects.toThrow(/'url'/);
  });

  it('answers calls without a promise, each under its index and with its own error', async () => {
    const connection = await RedisConnection.open({ url: server.url, namespace: server.prefix }, new Incidents());
    const script = connection.script(appendDefinition(connection));
    const answers = await new Promise<unknown[]>((resolve) => {
      const heard: unknown[] = [];
      const note = (index: number, answer: unknown): void => {
        heard[index] = answer;
        if (Object.keys(heard).length === 3) resolve(heard);
      };
      const receiver: ScriptReceiver<unknown> = { answer: note, fail: (index) => note(index, 'failed') };
      for (const [index, text] of ['a', 'raise', 'b'].entries()) script.call({ entity: text, text }, receiver, index);
    });
    expect(answers).toEqual(['a', 'failed', 'b']);
    await connection.close();
  });
});
