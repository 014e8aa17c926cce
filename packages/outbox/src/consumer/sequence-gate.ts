import { DrainService, Incidents, PeriodicTask } from '@lockstep/core';
import { type MigrationSet, Sql, type SqlTransaction } from '@lockstep/sql';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import type { Message } from '../message.js';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { ReportPace } from '../relay/report-pace.js';
import { sequenceText } from '../sequence.js';
import { OutOfSequenceError, OutOfTurnError } from './gate.errors.js';
import { PositionPurge } from './position-purge.js';
import { POSITION_STATEMENTS, type PositionStatements } from './position-statements.js';
import { type Place, placeOf, turnOf } from './turn.js';

const PURGE_EVERY_MS = 60_000;
/** So often, within the time that a position is kept, one that messages wait behind is looked at. */
const LOOKS = 8;
const LONGEST_PAUSE_MS = 3_600_000;
/** A hundred years: until a turn is taken, which touches the row. */
const HELD_MS = 100 * 365 * 86_400_000;

interface PositionRow {
  readonly generation: string;
  readonly last: string;
}

/**
 * Lets the strict messages of a key take effect at a consumer one after the other, whatever the transport does. The last
 * one that took effect is a row in the consumer's database, locked and moved in the transaction of that effect.
 *
 * ```
 * first copy of g.n, the row stands at G.last          (no row: G = g, last = 0, or where the consumer subscribed)
 *   g = G, n = last + 1   --handler or skip--> G.n      in one transaction with inbox row and effect
 *   g = G, n > last + 1   --rolled back, inbox row too--> comes again later, as often as it takes
 *   g > G, n = first      --handler or skip--> g.n      the counter was forgotten or lost: reported
 *   g > G, n > first      --rolled back--> comes again later
 *   n <= last, or g < G   --rolled back--> dead letter  never taken for a copy; only a skipped one is let through
 * copy that the inbox knows --> done, wherever the row stands
 * message given up --> the row stays: later ones wait until it was skipped or replayed
 * ```
 *
 * The producer forgets the counter of a key without messages after `sequenceRetention`, and begins a later generation
 * then. A position that was forgotten before the counter would make the next message wait for ever, so it is kept twice
 * as long, from its last message on or the last that wanted to follow: the counter goes in a sweep some time after it
 * may, while the next message may still be drawn from it. For as long as a dead letter holds up the key, however long that
 * is, the time does not begin. A counter stays as long as any consumer has a message of the key; the others are told by
 * then where they begin, should they have forgotten it
 * (`OutboxOperations.purgeSequences`).
 */
@Injectable()
export class SequenceGate implements OnApplicationBootstrap {
  private readonly statements: PositionStatements;
  private readonly purge: PositionPurge;
  private readonly reaper: PeriodicTask;
  private readonly retentionMs: number;
  private readonly looks: ReportPace;
  private isPrepared = false;

  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(OUTBOX_OPTIONS) options: Pick<ResolvedOutboxOptions, 'sequenceRetentionMs'>,
    @Inject(Incidents) private readonly incidents: Incidents,
    @Inject(DrainService) drains: DrainService,
  ) {
    this.statements = POSITION_STATEMENTS[sql.dialect];
    this.purge = new PositionPurge(sql);
    this.retentionMs = 2 * options.sequenceRetentionMs;
    this.looks = new ReportPace(Math.min(this.retentionMs / LOOKS, LONGEST_PAUSE_MS));
    this.reaper = new PeriodicTask({
      name: 'outbox position purge',
      everyMs: PURGE_EVERY_MS,
      run: () => this.reap(),
      onError: (cause) =>
        incidents.report({
          code: 'OUTBOX_POSITION_PURGE_FAILED',
          source: 'outbox.gate',
          message: 'the positions of idle keys stay until a later purge succeeds',
          cause,
        }),
    });
    drains.register({ name: 'outbox position purge', phase: 'work', drain: () => this.reaper.stop() });
  }

  /** Here and not in `prepare`, whose caller's trace the loop would be part of for ever. */
  onApplicationBootstrap(): void {
    this.reaper.start();
  }

  /** Sees to it that the table is there. Needs a second connection the first time, so call it before the transaction. */
  async prepare(): Promise<void> {
    const directory = new URL(`./migrations/${this.sql.dialect}/`, import.meta.url);
    await this.sql.ensureMigrated({ name: 'outbox-position', directory } satisfies MigrationSet);
    if (this.isPrepared) return;
    this.isPrepared = true;
    this.reaper.wake();
  }

  /**
   * Takes the turn of a message that the inbox did not know. Messages of one key of one transaction in their order, and
   * keys in one order, or two transactions could wait for each other. The transaction must be read committed: it has to
   * see what others committed while it waited.
   *
   * @returns whether the handler is to be called; not for a skipped one, nor for one that is not strict
   * @throws OutOfTurnError, OutOfSequenceError; the transaction is to be rolled back
   */
  async enter(tx: SqlTransaction, consumer: string, message: Message): Promise<boolean> {
    const place = placeOf(message);
    if (!place) return true;
    if (await this.step(tx, consumer, place)) return !place.isSkipped;
    const { topic, key, sequence, before } = place;
    const of = [consumer, topic, key];
    const [row] = await tx.query<PositionRow>(this.statements.lock, [...of, sequence.generation, before]);
    const stored = { generation: Number(row?.generation), n: Number(row?.last) };
    const turn = turnOf(place, stored);
    if (turn === 'early') throw new OutOfTurnError(place, sequenceText(stored));
    if (turn === 'past') {
      if (place.isSkipped) return false;
      throw new OutOfSequenceError(message.id, place, sequenceText(stored));
    }
    await tx.execute(this.statements.set, [...of, sequence.generation, sequence.n]);
    if (turn === 'restarted') tx.afterCommit?.(() => this.reportRestart(consumer, place, sequenceText(stored)));
    return !place.isSkipped;
  }

  /** Keeps the position of a message that was given up until it, or its successor, takes its turn. */
  async hold(tx: SqlTransaction, consumer: string, { topic, key }: Place): Promise<void> {
    await tx.execute(this.statements.hold, [consumer, topic, key, HELD_MS]);
  }

  /**
   * Keeps the position for a message that comes again, or one that is tried for long would find it forgotten, and its key
   * would wait for ever. Now and then for each key; what cannot be written is reported, and done the next time.
   *
   * @returns false when it could not be written
   */
  async keep(consumer: string, { topic, key }: Place): Promise<boolean> {
    if (!this.looks.isDue(JSON.stringify([consumer, topic, key]))) return true;
    try {
      await this.sql.execute(this.statements.keep, [consumer, topic, key, this.retentionMs / LOOKS]);
      return true;
    } catch (cause) {
      this.incidents.report({
        code: 'OUTBOX_REPLY_FAILED',
        source: 'outbox.gate',
        message: 'that the position of a key is still needed could not be written; it is written later',
        cause,
        fields: { consumer, topic },
      });
      return false;
    }
  }

  /** The usual case in one statement. The first of a key has no row to step from. */
  private async step(tx: SqlTransaction, consumer: string, { topic, key, sequence, before }: Place): Promise<boolean> {
    if (sequence.n === before + 1) return false;
    const { generation, n } = sequence;
    return (await tx.execute(this.statements.step, [consumer, topic, key, generation, n - 1])) === 1;
  }

  private reportRestart(consumer: string, { topic, sequence }: Place, last: string): void {
    this.incidents.report({
      code: 'OUTBOX_SEQUENCE_RESTARTED',
      source: 'outbox.gate',
      message: 'a key begins anew: its counter was forgotten after sequenceRetention, or lost',
      fields: { consumer, topic, sequence: sequenceText(sequence), last },
    });
  }

  private async reap(): Promise<'again' | undefined> {
    if (!this.isPrepared) return undefined;
    const { isWorthwhile } = await this.purge.step(this.retentionMs);
    return isWorthwhile ? 'again' : undefined;
  }
}
