import { StoreUnavailableError } from '@lockstep/core';
import type { RedisScript } from '@lockstep/redis';
import type { LoadRequest, ReplaceOutcome, ReplaceRequest, SessionKey, SessionRecord } from '../../session-store.js';
import type { Creation, Departure, Settled } from './session.scripts.js';
import { attributeFields, type StoredSession, sessionRecord } from './stored-session.js';

export interface MoveSteps {
  readonly load: RedisScript<LoadRequest, StoredSession | undefined>;
  readonly create: RedisScript<Creation, Settled | 'refused' | 'gone'>;
  readonly leave: RedisScript<Departure, 'left' | 'changed' | 'gone'>;
  /** Ends a session. */
  end(key: SessionKey): Promise<unknown>;
}

const ATTEMPTS = 10;
const LOOK = Number.POSITIVE_INFINITY;

/** What the attempts so far have ended or found at their end. */
interface Tally {
  readonly evicted: string[];
  readonly expired: string[];
}

/**
 * Replaces a session by one of another slot of a Cluster, which no single step can do.
 *
 * ```
 * read --> copied, named in its new index --old one unchanged--> old one ended: replaced
 *                                         --changed meanwhile--> read again, and copied over the copy
 *                                         --ended meanwhile--> copy ended: gone
 *          copy ended meanwhile, as all of its user were: old one ended, too: gone
 * ```
 * Until the old one has ended nobody has the id of the copy. A process that dies before that leaves one behind which
 * nobody can use, and which ends when it has not been used for the idle timeout. Sent again, it goes on where it was.
 * Who was evicted for a copy that is ended again stays so.
 */
export class SessionMove {
  constructor(private readonly steps: MoveSteps) {}

  async replace(request: ReplaceRequest): Promise<ReplaceOutcome> {
    const { from, draft } = request;
    const tally: Tally = { evicted: [], expired: [] };
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const old = await this.steps.load.run({ key: from, touchAfterMs: LOOK });
      const record = old && sessionRecord(from, old);
      if (!record) return this.withoutOld(request, old, tally);
      const copied = await this.copy(request, record, attempt);
      if (copied === 'refused') return { outcome: 'refused' };
      if (copied === 'gone') {
        // All sessions of the user were ended, and the copy was one of them: so is what it was copied from.
        await this.steps.end(from);
        return { outcome: 'gone' };
      }
      tally.evicted.push(...copied.evicted);
      tally.expired.push(...copied.expired);
      const left = await this.steps.leave.run({ from, version: record.version, copyId: draft.key.id });
      if (left === 'left') return replacedBy(request, copied.session, tally);
    }
    await this.steps.end(draft.key);
    throw new StoreUnavailableError({ store: 'redis', operation: 'session.replace', outcome: 'not-applied' });
  }

  private copy(
    { draft, manner, limit }: ReplaceRequest,
    { version, attributes }: SessionRecord,
    attempt: number,
  ): Promise<Settled | 'refused' | 'gone'> {
    return this.steps.create.run({
      draft,
      how: attempt === 0 ? 'copy' : 'copy-again',
      version: version + 1,
      attributes: manner === 'reset' ? [] : attributeFields(attributes),
      limit,
    });
  }

  /** It was replaced by this very request, of which the answer was lost; or it has ended, and the copy must too. */
  private async withoutOld(
    request: ReplaceRequest,
    trace: StoredSession | undefined,
    tally: Tally,
  ): Promise<ReplaceOutcome> {
    const { key } = request.draft;
    if (trace?.fields[0] === 'x' && trace.fields[1] === key.id) {
      const session = await this.steps.load.run({ key, touchAfterMs: LOOK });
      return session ? replacedBy(request, session, tally) : { outcome: 'gone' };
    }
    await this.steps.end(key);
    return { outcome: 'gone' };
  }
}

function replacedBy({ draft }: ReplaceRequest, session: StoredSession, tally: Tally): ReplaceOutcome {
  const record = sessionRecord(draft.key, session);
  return record ? { outcome: 'replaced', record, ...tally } : { outcome: 'gone' };
}
