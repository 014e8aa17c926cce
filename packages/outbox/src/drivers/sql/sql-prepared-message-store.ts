import { isLockTimeout, type MigrationSet, type Sql, type SqlTransaction } from '@lockstep/sql';
import type { MessageEnvelope } from '../../message.js';
import type { OutboxRecord, OutboxStore } from '../../outbox-store.js';
import type {
  CheckAnswer,
  DecisionOutcome,
  DueCheck,
  DueRequest,
  HalfMessage,
  HalfState,
  OpenState,
  PreparedFacts,
  PreparedMessageStore,
  UndecidedMessage,
  UndecidedQuery,
  WaitingChecker,
} from '../../transactional/prepared-message-store.js';
import type { PreparedStatements } from './prepared-statements.js';

interface HalfRow {
  readonly id: string;
  readonly state: HalfState;
  readonly topic: string;
  readonly key: string | null;
  readonly payload: string;
  readonly headers: string;
  readonly preparedAt: string;
  readonly shard: number;
  readonly awaitsAck: string;
  readonly delayMs: string;
  readonly checker: string;
  readonly checks: number;
  readonly maxChecks: number;
  readonly young: string;
}

const SMALLEST_ID = '00000000-0000-0000-0000-000000000000';

/**
 * {@link PreparedMessageStore} on tables `lockstep_outbox_prepared` and `lockstep_outbox_decision` of the database that
 * `SqlModule` talks to, which is also the one of the transactions that join.
 *
 * @param append that of the outbox store: it writes a committed message in the transaction of the decision
 */
export class SqlPreparedMessageStore implements PreparedMessageStore {
  constructor(
    private readonly sql: Sql,
    private readonly append: OutboxStore['append'],
    private readonly statements: PreparedStatements,
    private readonly migrations: MigrationSet,
  ) {}

  async prepare({ record, ...half }: HalfMessage): Promise<number> {
    await this.ready();
    const { message, shard, awaitsAck, delayMs } = record;
    const [row] = await this.sql.query<{ deadline: string }>(this.statements.prepare, [
      message.id,
      shard,
      awaitsAck,
      delayMs,
      message.topic,
      message.key ?? null,
      message.payload,
      JSON.stringify(message.headers),
      half.checker,
      half.checkAfterMs,
      half.checkEveryMs,
      half.checks,
      half.joinWithinMs,
      half.maxAgeMs,
    ]);
    return Number(row?.deadline);
  }

  commit(id: string, from: OpenState): Promise<DecisionOutcome> {
    return this.decide(id, from, 'committed');
  }

  rollback(id: string, from: OpenState): Promise<DecisionOutcome> {
    return this.decide(id, from, 'rolled-back');
  }

  async join(transaction: SqlTransaction, id: string, deadline: number): Promise<boolean> {
    await this.ready();
    return (await transaction.execute(this.statements.join, [id, deadline])) === 1;
  }

  async standing(id: string): Promise<CheckAnswer> {
    await this.ready();
    try {
      await this.sql.execute(this.statements.refuse, [id]);
    } catch (error) {
      if (isLockTimeout(error)) return 'unknown';
      throw error;
    }
    const [row] = await this.sql.query<{ decision: CheckAnswer }>(this.statements.standing, [id]);
    return row?.decision ?? 'unknown';
  }

  async waiting(): Promise<readonly WaitingChecker[]> {
    await this.ready();
    const rows = await this.sql.query<Record<keyof WaitingChecker, string>>(this.statements.waiting);
    return rows.map(({ checker, dueSince }) => ({ checker, dueSince: Number(dueSince) }));
  }

  async due({ checker, limit }: DueRequest): Promise<readonly DueCheck[]> {
    await this.ready();
    return this.begun(async (tx) => {
      const rows = await tx.query<HalfRow>(this.statements.lockDue, [checker, limit]);
      if (rows.length > 0) await tx.execute(this.statements.countCheck, [JSON.stringify(rows.map(({ id }) => id))]);
      return rows.map((row) => ({
        message: envelopeOf(row),
        checker: row.checker,
        isLast: row.checks + 1 >= row.maxChecks,
        isYoung: row.young === '1',
      }));
    });
  }

  async park(id: string): Promise<boolean> {
    await this.ready();
    return (await this.sql.execute(this.statements.park, [id])) > 0;
  }

  async resume(id: string): Promise<boolean> {
    await this.ready();
    return (await this.sql.execute(this.statements.resume, [id])) > 0;
  }

  async undecided({ after, limit }: UndecidedQuery): Promise<readonly UndecidedMessage[]> {
    await this.ready();
    const rows = await this.sql.query<HalfRow>(this.statements.undecided, [after ?? SMALLEST_ID, limit]);
    return rows.map((row) => ({ message: envelopeOf(row), checker: row.checker, checks: row.checks }));
  }

  async checkerOf(id: string): Promise<string | undefined> {
    await this.ready();
    const [row] = await this.sql.query<HalfRow>(this.statements.find, [id]);
    return row?.state === 'undecided' ? row.checker : undefined;
  }

  async facts(): Promise<PreparedFacts> {
    await this.ready();
    const [row] = await this.sql.query<Record<keyof PreparedFacts, string>>(this.statements.facts);
    return {
      prepared: Number(row?.prepared),
      undecided: Number(row?.undecided),
      oldestPreparedMs: Number(row?.oldestPreparedMs),
    };
  }

  async purge(olderThanMs: number): Promise<number> {
    await this.ready();
    const purged = await this.sql.execute(this.statements.purgeMessages, [olderThanMs]);
    await this.sql.execute(this.statements.purgeTombstones, [olderThanMs]);
    return purged;
  }

  private async decide(id: string, from: OpenState, to: HalfState): Promise<DecisionOutcome> {
    await this.ready();
    return this.begun(async (tx) => {
      const decided = (await tx.execute(this.statements.decide, [id, from, to])) > 0;
      const [row] = await tx.query<HalfRow>(this.statements.find, [id]);
      if (decided && row && to === 'committed') await this.append(tx, [recordOf(row)]);
      return { decided, state: row?.state, shard: row?.shard, delayMs: Number(row?.delayMs ?? 0) };
    });
  }

  /** A transaction of the store's own, whatever is open around. */
  private begun<T>(work: (tx: SqlTransaction) => Promise<T>): Promise<T> {
    return this.sql.transaction(work, { propagation: 'requires-new', isolation: 'read committed' });
  }

  private ready(): Promise<void> {
    return this.sql.ensureMigrated(this.migrations);
  }
}

function envelopeOf({ id, topic, key, payload, headers, preparedAt }: HalfRow): MessageEnvelope {
  const parsed = JSON.parse(headers) as Record<string, string>;
  return { id, topic, key: key ?? undefined, payload, headers: parsed, publishedAt: Number(preparedAt) };
}

function recordOf(row: HalfRow): OutboxRecord {
  const { publishedAt: _preparedAt, ...message } = envelopeOf(row);
  return {
    message,
    shard: row.shard,
    awaitsAck: row.awaitsAck === '1',
    delayMs: Number(row.delayMs),
    strict: false,
  };
}
