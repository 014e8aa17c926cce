import type { Incidents } from '@lockstep/core';
import type { RedisConnection, RedisScript } from '@lockstep/redis';
import type {
  CreateOutcome,
  CreateRequest,
  LoadRequest,
  RemoveRequest,
  ReplaceOutcome,
  ReplaceRequest,
  SaveOutcome,
  SaveRequest,
  SessionHead,
  SessionKey,
  SessionRecord,
  SessionStore,
  WatchableStore,
} from '../../session-store.js';
import {
  type Creation,
  createScript,
  leaveScript,
  listScript,
  loadScript,
  removeScript,
  replaceScript,
  type SavedReply,
  type Settled,
  saveScript,
} from './session.scripts.js';
import { SessionKeys } from './session-keys.js';
import { SessionMove } from './session-move.js';
import { SessionWatch } from './session-watch.js';
import { type StoredSession, sessionRecord } from './stored-session.js';

const LOOK = Number.POSITIVE_INFINITY;
const WATCH_FAILED = {
  code: 'SESSION_WATCH_FAILED',
  source: 'session.watch',
  message: 'the end of a session may be missed by who watches it',
};

/**
 * One hash per session and one index per user, changed by scripts under the server's clock; calls of one tick travel as
 * one command. Each step is one script, but for a login into another slot of a Cluster; see {@link SessionMove}. Holds
 * what Redis holds: a failover that loses the last writes loses them, and may bring back what they ended.
 */
export class RedisSessionStore implements SessionStore, WatchableStore {
  private readonly keys: SessionKeys;
  private readonly removeAll: RedisScript<RemoveRequest, readonly string[]>;
  private readonly saveOne: RedisScript<SaveRequest, SavedReply>;
  private readonly replaceOne: RedisScript<ReplaceRequest, Settled | 'renewed' | 'refused' | 'gone'>;
  private readonly createOne: RedisScript<Creation, Settled | 'refused' | 'gone'>;
  private readonly loadOne: RedisScript<LoadRequest, StoredSession | undefined>;
  private readonly listAll: RedisScript<string, ReturnType<ReturnType<typeof listScript>['read']>>;
  private readonly move: SessionMove;

  /** What ends is sent before what begins: scripts of one tick go in the order in which they are made here. */
  constructor(
    private readonly redis: RedisConnection,
    private readonly incidents: Incidents,
  ) {
    this.keys = new SessionKeys(redis);
    this.removeAll = redis.script(removeScript(this.keys));
    this.saveOne = redis.script(saveScript(this.keys));
    const leave = redis.script(leaveScript(this.keys));
    this.replaceOne = redis.script(replaceScript(this.keys));
    this.createOne = redis.script(createScript(this.keys));
    this.loadOne = redis.script(loadScript(this.keys));
    this.listAll = redis.script(listScript(this.keys));
    const end = ({ id, group }: SessionKey) => this.remove({ group, ids: [id] });
    this.move = new SessionMove({ load: this.loadOne, create: this.createOne, leave, end });
  }

  async load(request: LoadRequest): Promise<SessionRecord | undefined> {
    const found = await this.loadOne.run(request);
    return found && sessionRecord(request.key, found);
  }

  async create({ draft, attributes, limit }: CreateRequest): Promise<CreateOutcome> {
    const fields = [...attributes].flatMap(([name, text]) => [name, `1:${text}`]);
    const created = await this.createOne.run({ draft, how: 'new', version: 1, attributes: fields, limit });
    if (typeof created === 'string') return { outcome: 'refused' };
    return { outcome: 'created', ...settled(draft.key, created) };
  }

  async save(request: SaveRequest): Promise<SaveOutcome> {
    const saved = await this.saveOne.run(request);
    if (saved.outcome !== 'saved') return saved;
    const { version, revisions = Array<number>(request.set.size).fill(version) } = saved;
    return { outcome: 'saved', version, revisions };
  }

  async replace(request: ReplaceRequest): Promise<ReplaceOutcome> {
    const { from, draft } = request;
    if (!this.redis.sharesSlot(this.keys.ofReplacement(from, draft.key))) return this.move.replace(request);
    const replaced = await this.replaceOne.run(request);
    if (typeof replaced === 'string') return { outcome: replaced };
    return { outcome: 'replaced', ...settled(draft.key, replaced) };
  }

  async list(group: string): Promise<{ sessions: readonly SessionHead[]; expired: readonly string[] }> {
    const { entries, expired } = await this.listAll.run(group);
    const sessions = entries.map((headIn) => headIn(group)).sort((a, b) => b.createdAt - a.createdAt);
    return { sessions, expired };
  }

  remove(request: RemoveRequest): Promise<readonly string[]> {
    return this.removeAll.run(request);
  }

  /** The channel of a session is its key. */
  async watch(key: SessionKey, ended: () => void): Promise<() => Promise<void>> {
    const watch = new SessionWatch(
      {
        subscribe: (watched, heard, again) => this.redis.subscribe(this.keys.session(watched), heard, again),
        find: async (watched) => (await this.load({ key: watched, touchAfterMs: LOOK }))?.key,
        failed: (cause) => this.incidents.report({ ...WATCH_FAILED, cause }),
      },
      ended,
    );
    await watch.follow(key);
    return () => watch.stop();
  }
}

function settled(
  key: SessionKey,
  { evicted, expired, session }: Settled,
): { record: SessionRecord; evicted: readonly string[]; expired: readonly string[] } {
  const record = sessionRecord(key, session);
  if (!record) throw new TypeError('Redis answered no session where one must be');
  return { record, evicted, expired };
}
