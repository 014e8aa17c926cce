import { ConfigurationError, type Incidents } from '@lockstep/core';
import type { RedisConnection } from '@lockstep/redis';

/** What a server answers that forbids CONFIG, or has it under another name. */
const FORBIDDEN = /^(NOPERM|ERR) /;

/**
 * Asks a node once whether it keeps what it has acknowledged over a crash: otherwise its counter falls back, and a
 * later holder may get a smaller fence.
 *
 * ```
 * unchecked --appendfsync always--> passed      --plainly off--> refused, for good
 *           --CONFIG forbidden--> passed, with an incident       --no answer--> unchecked
 * ```
 */
export class DurabilityCheck {
  /** True once nothing needs to be awaited. */
  isPassed = false;
  private running: Promise<void> | undefined;

  constructor(
    private readonly node: string,
    private readonly connection: RedisConnection,
    private readonly incidents: Incidents,
  ) {}

  /**
   * @throws ConfigurationError when the node may forget
   * @throws StoreUnavailableError when it does not answer
   */
  pass(): Promise<void> {
    this.running ??= this.check();
    return this.running;
  }

  private async check(): Promise<void> {
    const settings = await this.readSettings();
    if (settings === undefined) return;
    const isDurable = settings.get('appendonly') === 'yes' && settings.get('appendfsync') === 'always';
    if (!isDurable) {
      const found = `appendonly ${settings.get('appendonly')}, appendfsync ${settings.get('appendfsync')}`;
      const cause = new ConfigurationError(
        `redlockStore({ fencing: 'durable-nodes' }) needs appendonly yes and appendfsync always; ${this.node} has ${found}.`,
      );
      // Where it is one of few, the others go on without it, and nobody would hear of it.
      const message = 'a node may forget its fences over a crash, so it is not asked';
      this.incidents.report({ code: 'REDLOCK_NODE_REFUSED', source: 'lock.redlock', message, cause });
      throw cause;
    }
    this.isPassed = true;
  }

  private async readSettings(): Promise<Map<string, string> | undefined> {
    try {
      return parseSettings(await this.connection.command('redlock.check', 'config', 'get', 'append*'));
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      if (!(cause instanceof Error && cause.name === 'ReplyError' && FORBIDDEN.test(cause.message))) {
        this.running = undefined;
        throw error;
      }
      this.incidents.report({
        code: 'REDLOCK_NODE_NOT_CHECKED',
        source: 'lock.redlock',
        message: 'CONFIG was refused, so it is not known whether this node keeps its fences over a crash',
        cause,
        fields: { node: this.node },
      });
      this.isPassed = true;
      return undefined;
    }
  }
}

/** Names and values in turn, or already a map: that depends on the protocol and on the client. */
function parseSettings(reply: unknown): Map<string, string> {
  if (reply instanceof Map) return new Map([...reply].map(([name, value]) => [String(name), String(value)]));
  const settings = new Map<string, string>();
  if (Array.isArray(reply)) {
    for (let i = 0; i + 1 < reply.length; i += 2) settings.set(String(reply[i]), String(reply[i + 1]));
  } else if (typeof reply === 'object' && reply !== null) {
    for (const [name, value] of Object.entries(reply)) settings.set(name, String(value));
  }
  return settings;
}
