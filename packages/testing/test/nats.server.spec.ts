import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type NatsServer, startNats } from '@lockstep/testing';
import { useNats } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAlive } from './processes.js';

describe('startNats()', () => {
  let server: NatsServer;
  // The first start on a machine may download the package.
  beforeAll(async () => {
    server = await startNats();
  }, 180_000);
  afterAll(() => server.stop());

  it('has a server with JetStream, of a known version, that comes back on the same port after a kill', async () => {
    expect(await greeting('127.0.0.1', server.port)).toMatch(/^INFO .*"jetstream":true/);
    expect(await greeting('127.0.0.1', server.port)).toContain(`"version":"${server.located.version}`);
    const { url, pid } = server;
    await server.kill();
    expect(isAlive(pid)).toBe(false);
    await server.restart();
    expect(server.url).toBe(url);
    expect(await greeting('127.0.0.1', server.port)).toMatch(/^INFO /);
  });

  it('listens on the loopback only', async () => {
    // The second address of the loopback stands for every other one of the machine.
    await expect(greeting('127.0.0.2', server.port)).rejects.toThrow(/ECONNREFUSED|EADDRNOTAVAIL|ETIMEDOUT/);
  });

  it('a restart keeps the data, an empty one does not, and a stop ends the process', async () => {
    const state = mkdtempSync(join(tmpdir(), 'lockstep-spec-'));
    const other = await startNats({ dir: state });
    const stream = join(state, 'data', 'jetstream', '$G', 'streams', 'KEPT');
    expect(await ask(other, '$JS.API.STREAM.CREATE.KEPT', { name: 'KEPT', subjects: ['kept'] })).not.toContain(
      '"error"',
    );
    await other.kill();
    await other.restart();
    expect(await ask(other, '$JS.API.STREAM.INFO.KEPT', {})).toContain('"name":"KEPT"');
    expect(existsSync(stream)).toBe(true);
    await other.restart({ empty: true });
    expect(await ask(other, '$JS.API.STREAM.INFO.KEPT', {})).toContain('stream not found');
    const { pid } = other;
    await other.stop();
    expect(isAlive(pid)).toBe(false);
    rmSync(state, { recursive: true });
  });

  it('a port that is taken is an error when the caller named it, and the stranger is not taken for ours', async () => {
    const attempt = startNats({ port: server.port }).then(() => 'started');
    await expect(attempt).rejects.toThrow(/in use/);
    expect(await greeting('127.0.0.1', server.port)).toMatch(/^INFO /);
  });
});

describe('useNats()', () => {
  const nats = useNats();

  it('gives the server of the run and a namespace of the file', async () => {
    const { hostname, port } = new URL(nats.url);
    expect(await greeting(hostname, Number(port))).toMatch(/"jetstream":true/);
    expect(nats.namespace).toMatch(/^t[0-9a-f]{12}$/);
  });
});

function greeting(host: string, port: number): Promise<string> {
  return talk(host, port, '', /\r\n/);
}

function ask({ host, port }: NatsServer, subject: string, request: object): Promise<string> {
  const body = JSON.stringify(request);
  const lines = ['CONNECT {"verbose":false}', 'SUB answer 1', `PUB ${subject} answer ${body.length}`, body, ''];
  return talk(host, port, lines.join('\r\n'), /MSG answer 1 \d+\r\n.*\r\n/);
}

function talk(host: string, port: number, said: string, until: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let heard = '';
    const socket = connect({ host, port, timeout: 5_000 }, () => socket.write(said));
    socket.on('data', (chunk) => {
      heard += String(chunk);
      if (!until.test(heard)) return;
      socket.destroy();
      resolve(heard);
    });
    socket.once('timeout', () => socket.destroy(new Error('ETIMEDOUT')));
    socket.once('error', reject);
  });
}
