import type { Incidents } from '@lockstep/core';
import type { CheckAnswer, OutboxStore, PreparedMessageStore } from '@lockstep/outbox';
import type { Sql, SqlTransaction } from '@lockstep/sql';
import type { Actor, Step } from '@lockstep/testing';
import { MemoryPreparedMessageStore } from '../../dist/drivers/memory/memory-prepared-message-store.js';
import { CheckOutcomes } from '../../dist/transactional/check-outcomes.js';
import { HalfDecisions } from '../../dist/transactional/half-decisions.js';
import { TombstonePass } from '../../dist/transactional/tombstone-pass.js';
import { TransactionalHandlers } from '../../dist/transactional/transactional-handlers.js';
import { TransactionalMessages } from '../../dist/transactional/transactional-messages.service.js';

const ID = '018cc251-f400-7000-8000-000000000001';
const EVERY_MS = 1_000;
const DEADLINE_MS = 2_500;
const RETENTION_MS = 10_000;
const RECORD = {
  message: { id: ID, topic: 'paid', key: undefined, payload: '{}', headers: {} },
  shard: 0,
  awaitsAck: true,
  delayMs: 0,
  strict: false,
};
const HALF = {
  record: RECORD,
  checker: '',
  checkAfterMs: 0,
  checkEveryMs: EVERY_MS,
  checks: 3,
  joinWithinMs: DEADLINE_MS,
  maxAgeMs: 0,
};

/** What is left out, for a model that must fail. */
export interface Flaw {
  /** A check that finds no commit says rollback, and leaves no tombstone. */
  readonly noTombstone?: boolean;
  /** A transaction may join for ever. */
  readonly noDeadline?: boolean;
}

/** A local transaction in a database that keeps its uncommitted rows locked. */
interface Local {
  open: boolean;
  readonly afterCommit: (() => void)[];
}

export interface OwnerFate {
  /** The work fails in its transaction. */
  readonly fails?: boolean;
  /** The transaction lets itself be observed. */
  readonly observed?: boolean;
}

/**
 * One message, its owner, checkers and a purge, with the real service and the real check-back over the memory's half
 * messages, and tombstones as a database keeps them. Each call of the store is one step.
 */
export class HalfModel {
  private now = 0;
  private published = 0;
  private decisions = 0;
  private paid = false;
  private prepared = false;
  private local: Local | undefined;
  private tombstone: { readonly decision: CheckAnswer; readonly by: Local | undefined } | undefined;
  private readonly halves = new MemoryPreparedMessageStore(
    () => {
      this.published += 1;
    },
    () => this.now,
  );

  constructor(private readonly flaw: Flaw = {}) {}

  /** Does the work in a transaction that joins; it fails where that is asked for. */
  owner({ fails = false, observed = false }: OwnerFate = {}): Actor {
    return async (step) => {
      const { messages } = this.services(step);
      const work = messages.run({ topic: 'paid', body: {} }, async (half) => {
        await step('begin');
        const local: Local = { open: true, afterCommit: [] };
        const hooks = observed ? { afterCommit: (hook: () => void) => local.afterCommit.push(hook) } : {};
        this.local = local;
        try {
          await half.join({ local, ...hooks } as unknown as SqlTransaction);
          await step('work');
          if (fails) throw new Error('declined');
          await step('commit');
          this.end(local, true);
        } catch (error) {
          this.end(local, false);
          throw error;
        }
      });
      await work.catch((error: { code?: string; message: string }) => {
        if (error.code !== 'MESSAGE_ALREADY_ROLLED_BACK' && error.message !== 'declined') throw error;
      });
    };
  }

  checker(rounds: number): Actor {
    return async (step) => {
      const { pass } = this.services(step);
      for (let round = 0; round < rounds; round += 1) {
        await step('tick');
        this.now += EVERY_MS;
        await pass.run();
      }
    };
  }

  purger(): Actor {
    return async (step) => {
      await step('wait');
      this.now += RETENTION_MS + 1;
      await step('purge');
      await this.purge();
    };
  }

  /** Its connection is gone, and the database rolls back. */
  crash(actor: string): void {
    if (actor === 'owner' && this.local?.open) this.end(this.local, false);
  }

  async check(): Promise<void> {
    if (this.decisions > 1) throw new Error('decided twice');
    if (this.published > 1) throw new Error('published twice');
    if (this.published > 0 && !this.paid) throw new Error('published, and the work is not committed');
    const { state } = await this.peek();
    if (this.paid && state === 'rolled-back') throw new Error('rolled back, and the work is committed');
    if (this.tombstone?.by?.open) return;
    if (this.tombstone?.decision === 'commit' && state === 'rolled-back') throw new Error('commit stands, rolled back');
    if (this.tombstone?.decision === 'rollback' && state === 'committed') throw new Error('rollback stands, committed');
  }

  /** Whoever lives goes on checking, and a person resumes what was parked: then nothing is left in the air. */
  async checkEnd(): Promise<void> {
    const { pass } = this.services(async () => undefined);
    for (let round = 0; round < 5; round += 1) {
      this.now += EVERY_MS;
      await this.halves.resume(ID);
      await pass.run();
    }
    await this.check();
    const { prepared, undecided } = await this.halves.facts();
    if (prepared + undecided > 0) throw new Error('it is still open');
    if (this.prepared && this.paid !== this.published > 0) {
      throw new Error(this.paid ? 'the work is committed, and its message lost' : 'a message of nothing');
    }
  }

  /** A decision from a state that none is in tells how the message stands. */
  private peek() {
    return this.halves.commit(ID, 'none' as 'undecided');
  }

  private end(local: Local, commits: boolean): void {
    if (!local.open) return;
    local.open = false;
    if (commits) {
      this.paid = true;
      for (const hook of local.afterCommit) hook();
    }
    if (!commits && this.tombstone?.by === local) this.tombstone = undefined;
  }

  private join(local: Local, deadline: number): boolean {
    const late = !this.flaw.noDeadline && this.now >= deadline;
    if (late || this.tombstone) return false;
    this.tombstone = { decision: 'commit', by: local };
    return true;
  }

  private async standing(): Promise<CheckAnswer> {
    if (this.tombstone?.by?.open) return 'unknown';
    if (this.tombstone) return this.tombstone.decision;
    const { state } = await this.peek();
    if (state !== 'prepared' && state !== 'undecided') return 'unknown';
    if (!this.flaw.noTombstone) this.tombstone = { decision: 'rollback', by: undefined };
    return 'rollback';
  }

  private async purge(): Promise<number> {
    const purged = await this.halves.purge(RETENTION_MS);
    if (purged > 0) this.tombstone = undefined;
    return purged;
  }

  private services(step: Step) {
    const prepared = this.stepped(step);
    const store = { prepared } as unknown as OutboxStore;
    const incidents = { report: () => undefined } as unknown as Incidents;
    const handlers = new TransactionalHandlers();
    const decisions = new HalfDecisions(store, { wake: () => undefined } as never, incidents);
    const sql = { current: () => undefined } as unknown as Sql;
    const records = { make: () => HALF } as never;
    const messages = new TransactionalMessages(sql, store, handlers, records, decisions, {} as never, incidents);
    return { messages, pass: new TombstonePass(store, new CheckOutcomes(store, decisions, incidents)) };
  }

  private stepped(step: Step): PreparedMessageStore {
    const deciding = async (what: 'commit' | 'rollback', id: string, from: 'prepared' | 'undecided') => {
      await step(what);
      const outcome = await this.halves[what](id, from);
      if (outcome.decided) this.decisions += 1;
      return outcome;
    };
    return Object.assign(Object.create(this.halves) as PreparedMessageStore, {
      prepare: async (half: Parameters<PreparedMessageStore['prepare']>[0]) => {
        await step('prepare');
        this.prepared = true;
        return this.halves.prepare(half);
      },
      join: async (tx: SqlTransaction, _id: string, deadline: number) => {
        await step('join');
        return this.join((tx as unknown as { local: Local }).local, deadline);
      },
      standing: async () => {
        await step('standing');
        return this.standing();
      },
      due: async (request: Parameters<PreparedMessageStore['due']>[0]) => {
        await step('due');
        return this.halves.due(request);
      },
      park: async (id: string) => {
        await step('park');
        return this.halves.park(id);
      },
      commit: (id: string, from: 'prepared' | 'undecided') => deciding('commit', id, from),
      rollback: (id: string, from: 'prepared' | 'undecided') => deciding('rollback', id, from),
    } satisfies Partial<PreparedMessageStore>);
  }
}
