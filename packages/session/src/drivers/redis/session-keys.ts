import type { RedisConnection } from '@lockstep/redis';
import type { SessionKey } from '../../session-store.js';

/**
 * `<namespace>:session:{<group>}:<id>` and `<namespace>:session-user:{<group>}`: all that one step may have to change of
 * a user lies in one hash slot.
 */
export class SessionKeys {
  constructor(private readonly redis: RedisConnection) {}

  /** Also the channel that tells of its end. */
  session({ id, group }: SessionKey): string {
    return this.prefix(group) + id;
  }

  /** What the keys of all sessions of a group begin with. */
  prefix(group: string): string {
    return `${this.redis.key('session', group)}:`;
  }

  /** Names the sessions of a user. */
  index(group: string): string {
    return this.redis.key('session-user', group);
  }

  /** Session, its index, successor, its index: what a replacement changes. */
  ofReplacement(from: SessionKey, to: SessionKey): readonly [string, string, string, string] {
    return [this.session(from), this.index(from.group), this.session(to), this.index(to.group)];
  }
}
