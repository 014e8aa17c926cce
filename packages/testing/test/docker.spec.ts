import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { locateRedis, type RedisServer, startRedis } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Stands in for the command line of Docker, where no engine can be assumed: takes the very arguments that we pass, runs
// a local Redis as "the container", and delivers signals only by `docker kill`.
const STAND_IN = `#!/bin/sh
case "$1" in
  version) echo 28.0 ;;
  image) exit 0 ;;
  kill) kill "-$(echo "$2" | sed 's/--signal=SIG//')" "$(cat "$STATE/$3")" ;;
  run)
    shift
    while :; do
      case "$1" in
        --rm) shift ;;
        --name) name=$2; shift 2 ;;
        -p) port=$(echo "$2" | cut -d: -f2); shift 2 ;;
        -v) folder=$(echo "$2" | cut -d: -f1); shift 2 ;;
        --user) shift 2 ;;
        *) break ;;
      esac
    done
    shift 8 # image, redis-server, --port 6379, --protected-mode no, --dir /data
    echo $$ > "$STATE/$name"
    exec "$REAL_REDIS" --port "$port" --bind 127.0.0.1 --dir "$folder" "$@" ;;
esac
`;

describe('a server in a container', () => {
  const state = mkdtempSync(join(tmpdir(), 'lockstep-spec-'));
  let server: RedisServer;

  beforeAll(async () => {
    const real = await locateRedis();
    writeFileSync(join(state, 'docker'), STAND_IN);
    chmodSync(join(state, 'docker'), 0o755);
    vi.stubEnv('STATE', state);
    vi.stubEnv('REAL_REDIS', real.binary);
    for (const [name, value] of Object.entries(real.env)) vi.stubEnv(name, value);
    vi.stubEnv('PATH', `${state}${delimiter}${process.env.PATH}`);
    vi.stubEnv('LOCKSTEP_REDIS', 'docker');
    server = await startRedis({ appendonly: 'always' });
  });
  afterAll(async () => {
    await server.stop();
    vi.unstubAllEnvs();
    rmSync(state, { recursive: true });
  });

  async function connected<T>(work: (client: Redis) => Promise<T>): Promise<T> {
    const client = new Redis(server.url, { retryStrategy: () => null, commandTimeout: 200 });
    client.on('error', () => undefined);
    try {
      return await work(client);
    } finally {
      client.disconnect();
    }
  }

  it('is published on the loopback and keeps its data over a kill', async () => {
    expect(server.located).toMatchObject({ source: 'docker', image: 'redis:7-alpine' });
    await connected((client) => client.set('kept', '1'));
    await server.kill();
    await server.restart();
    expect(await connected((client) => client.get('kept'))).toBe('1');
  });

  it('is paused and resumed', async () => {
    server.pause();
    await expect(connected((client) => client.get('kept'))).rejects.toThrow();
    server.resume();
    expect(await connected((client) => client.get('kept'))).toBe('1');
  });
});
