import { randomBytes } from 'node:crypto';
import { RedisSocket } from '../protocol/redis-socket.js';

export interface RedisCommandCounterOptions {
  /**
   * Only commands of these clients, as `address:port` of their end.
   * @default every client but the counter itself
   */
  readonly clients?: readonly string[];
}

interface Seen {
  readonly client: string;
  readonly name: string;
  readonly line: string;
}

const FLUSH_TIMEOUT_MS = 5000;

/**
 * Counts what reaches the server: top-level commands, one for each that a client sent. It reads MONITOR, the one place
 * where a command that a Lua script runs (shown as client `lua`) can be told from one that travelled; INFO commandstats
 * counts both. Not shown by Redis, hence not counted: AUTH and administrative commands (CONFIG, SAVE, …).
 */
export async function redisCommandCounter(
  url: string,
  options: RedisCommandCounterOptions = {},
): Promise<RedisCommandCounter> {
  const monitor = await RedisSocket.connect(url);
  const marker = await RedisSocket.connect(url);
  const counter = new RedisCommandCounter(monitor, marker, options.clients);
  await monitor.command('MONITOR');
  return counter;
}

export class RedisCommandCounter {
  private seen: Seen[] = [];
  private readonly flushes = new Map<string, () => void>();

  constructor(
    private readonly monitor: RedisSocket,
    private readonly marker: RedisSocket,
    private readonly clients: readonly string[] | undefined,
  ) {
    monitor.listen((value) => this.record(String(value)));
  }

  /** Forgets what was counted. Await it: a command that was answered before the call is surely forgotten. */
  async reset(): Promise<void> {
    await this.flush();
    this.seen = [];
  }

  /** Names in upper case, in the order of execution, of all commands answered since the last reset. */
  async commands(): Promise<string[]> {
    await this.flush();
    return this.seen.map(({ name }) => name);
  }

  /** How often each command came. */
  async counts(): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const name of await this.commands()) counts[name] = (counts[name] ?? 0) + 1;
    return counts;
  }

  stop(): void {
    this.monitor.close();
    this.marker.close();
  }

  /** Redis executes and shows commands in one order: once our own mark is seen, so is all that came before it. */
  private async flush(): Promise<void> {
    const mark = randomBytes(8).toString('hex');
    let timer: NodeJS.Timeout | undefined;
    const shown = new Promise<void>((resolve, reject) => {
      this.flushes.set(mark, resolve);
      timer = setTimeout(
        () => reject(new Error('MONITOR does not show the mark: is the connection gone?')),
        FLUSH_TIMEOUT_MS,
      );
    });
    try {
      await Promise.all([shown, this.marker.command('ECHO', mark)]);
    } finally {
      clearTimeout(timer);
      this.flushes.delete(mark);
    }
  }

  private record(line: string): void {
    const seen = parseMonitorLine(line);
    if (seen === undefined) return;
    if (seen.client === this.marker.localAddress) {
      for (const [mark, resolve] of this.flushes) if (seen.line.includes(mark)) resolve();
      return;
    }
    if (this.clients === undefined ? seen.client !== 'lua' : this.clients.includes(seen.client)) this.seen.push(seen);
  }
}

/** `1700000000.123456 [0 127.0.0.1:50000] "set" "key" "value"`; a unix socket shows as `unix:path`. */
function parseMonitorLine(line: string): Seen | undefined {
  const match = /^\d+\.\d+ \[\d+ ([^\]]+|\[[^\]]*\]:\d+)\] "([^"]*)"/.exec(line);
  if (match === null) return undefined;
  return { client: match[1] ?? '', name: (match[2] ?? '').toUpperCase(), line };
}
