import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { eventually, type RedisServer, startRedis } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appendScript } from './support/append.script.js';
import { openConnection } from './support/open-connection.js';

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

/** The commands that the README tells an operator to allow. */
function documentedCommands(): string[] {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [, commands = ''] = /With ACLs allow `([^`]+)`/.exec(readme) ?? [];
  return commands.split(' ');
}

describe('an account with the rights of the README', () => {
  it('is enough for scripts and pushes', async () => {
    const admin = new Redis(server.url);
    const rights = ['~shop:*', '&shop:*', '-@all', ...documentedCommands(), '+get', '+append'];
    await admin.call('acl', 'setuser', 'shop', 'on', '>a password', ...rights);
    admin.disconnect();
    const url = server.url.replace('redis://', `redis://shop:${encodeURIComponent('a password')}@`);
    const { app, connection, incidents } = await openConnection({ url }, 'shop', 500);

    expect(await appendScript(connection).run({ entity: 'e', text: 'a' })).toBe('a');
    const heard: string[] = [];
    const channel = connection.key('channel', 'e');
    const leave = await connection.subscribe(channel, (message) => heard.push(message));
    await connection.command('test', 'publish', channel, 'a');
    await eventually(() => expect(heard).toEqual(['a']));
    await leave();
    expect(incidents).toEqual([]);
    await app.close();
  });
});
