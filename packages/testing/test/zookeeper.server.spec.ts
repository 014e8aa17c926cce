import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, ServerStartError, startZooKeeper } from '@lockstep/testing';
import { useZooKeeper } from '@lockstep/testing/vitest';
import { describe, expect, it } from 'vitest';
import { isAlive } from './processes.js';

describe('startZooKeeper()', () => {
  const zookeeper = useZooKeeper({ tickTime: 300, minSessionTimeout: 900, maxSessionTimeout: 9000 });

  it('has a server of its own that serves requests, with the given times', async () => {
    expect(await zookeeper.server.ask('ruok')).toBe('imok');
    const conf = await zookeeper.server.ask('conf');
    expect(conf).toContain('tickTime=300\n');
    expect(conf).toContain('minSessionTimeout=900\n');
    expect(conf).toContain('maxSessionTimeout=9000\n');
    expect(conf).toContain('maxClientCnxns=0\n');
    expect(await zookeeper.server.ask('srvr')).toContain('Mode: standalone');
  });

  it('listens on the loopback only', async () => {
    // The second address of the loopback stands for every other one of the machine.
    expect(await reason('127.0.0.2', zookeeper.server.port)).toMatch(/ECONNREFUSED|EADDRNOTAVAIL|ETIMEDOUT/);
    expect(await zookeeper.server.ask('envi')).toContain(`zookeeper.version=${zookeeper.server.located.version}`);
  });

  it('a paused server keeps its connections and answers once resumed', async () => {
    zookeeper.server.pause();
    await expect(zookeeper.server.ask('ruok')).rejects.toThrow('No answer to ruok');
    zookeeper.server.resume();
    await eventually(async () => expect(await zookeeper.server.ask('ruok')).toBe('imok'));
  });

  it('comes back on the same port after a kill', async () => {
    const { connectString, pid } = zookeeper.server;
    await zookeeper.server.kill();
    expect(isAlive(pid)).toBe(false);
    await zookeeper.server.restart();
    expect(zookeeper.connectString).toBe(connectString);
    expect(await zookeeper.server.ask('ruok')).toBe('imok');
  });

  it('a restart keeps the data, an empty one does not', async () => {
    const state = join(mkdtempSync(join(tmpdir(), 'lockstep-spec-')));
    const server = await startZooKeeper({ dir: state });
    await server.restart();
    expect(existsSync(join(state, 'data', 'version-2'))).toBe(true);
    await server.restart({ empty: true });
    expect(await server.ask('srvr')).toContain('Zxid: 0x0');
    await server.stop();
    expect(isAlive(server.pid)).toBe(false);
    rmSync(state, { recursive: true });
  });

  it('a start that fails quotes the log of the server', async () => {
    const attempt = startZooKeeper({ minSessionTimeout: 2000, maxSessionTimeout: 1000 }).then(() => 'started');
    await expect(attempt).rejects.toThrow(ServerStartError);
    await expect(attempt).rejects.toThrow('minSessionTimeout must not be larger than maxSessionTimeout');
  });

  it('a port that is taken is an error when the caller named it, and the stranger is not taken for ours', async () => {
    const attempt = startZooKeeper({ port: zookeeper.server.port }).then(() => 'started');
    await expect(attempt).rejects.toThrow(/in use/);
    expect(await zookeeper.server.ask('ruok')).toBe('imok');
  });
});

function reason(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 2000 }, () => resolve('connected'));
    socket.once('timeout', () => resolve('ETIMEDOUT'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}
