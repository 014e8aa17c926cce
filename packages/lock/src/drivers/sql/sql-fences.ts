import { ConfigurationError, DrainService, type Duration, durationMs, Incidents, PeriodicTask } from '@lockstep/core';
import { Sql } from '@lockstep/sql';
import type { FactoryProvider, OnApplicationBootstrap } from '@nestjs/common';
import { StaleFenceError } from '../../fence/fence.errors.js';
import { assertFence, assertResource } from '../../fence/fence.js';
import type { SqlStatements } from './sql-statements.js';

export interface SqlFencesOptions {
  /**
   * How long a resource remembers its fence after it was last touched, at least 1 h. Longer than a holder may stand
   * still and come back.
   * @default '14d'
   */
  readonly fenceRetention?: Duration;
  /** Pause between two purges of the table, at least 1 s. @default '1h' */
  readonly purgeEvery?: Duration;
}

interface ResolvedSqlFencesOptions {
  readonly retentionMs: number;
  readonly purgeEveryMs: number;
}

// Both outcomes in one statement. A refused touch prolongs the memory too: there is a holder that came late.
const TOUCH = `INSERT INTO lockstep_fence AS kept (resource, fence) VALUES ($1, $2)
  ON CONFLICT (resource) DO UPDATE
    SET fence = greatest(kept.fence, excluded.fence), touched_at = clock_timestamp()
  RETURNING fence::text AS seen`;

// Page by page along the primary key, so that no step has more to read than a page, and passing over what others have in
// hand. statement_timestamp(): one moment for the whole page.
const PURGE = `WITH page AS (
    SELECT resource FROM lockstep_fence WHERE resource > $1 ORDER BY resource LIMIT $2
  ), purged AS (
    DELETE FROM lockstep_fence WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM lockstep_fence WHERE resource IN (SELECT resource FROM page)
        AND touched_at < statement_timestamp() - $3 * interval '1 millisecond'
      FOR UPDATE SKIP LOCKED
    )) RETURNING 1
  )
  SELECT (SELECT max(resource) FROM page) AS last, (SELECT count(*) FROM page)::text AS seen,
    (SELECT count(*) FROM purged)::text AS purged`;

const PURGE_BATCH = 1_000;

/**
 * {@link SqlFences} on the database of `SqlModule`, for `providers: [sqlFences()]`.
 *
 * @throws ConfigurationError naming the option and its value; at boot, where `SqlModule` is not imported
 */
export function sqlFences(options: SqlFencesOptions = {}): FactoryProvider<SqlFences> {
  const resolved = resolveSqlFencesOptions(options);
  return {
    provide: SqlFences,
    inject: [
      { token: Sql, optional: true },
      { token: Incidents, optional: true },
      { token: DrainService, optional: true },
    ],
    useFactory: (sql?: Sql, incidents?: Incidents, drains?: DrainService) => {
      if (sql && incidents && drains) return new SqlFences(sql, resolved, incidents, drains);
      throw new ConfigurationError('sqlFences() needs SqlModule.forRoot(…) among the imports.');
    },
  };
}

/**
 * Fences of resources that have no column for one: several rows at once, an account with somebody else, a file.
 *
 * Promise: once a touch under a fence was committed, every touch under a smaller one is refused. Touch before the first
 * read and, in the transaction of the writes, before them: what a transaction reads and writes after its touch is that
 * of the only holder, for touches of one resource wait for each other's transactions.
 *
 * Broken by: a touch and what it guards in different transactions, a `fenceRetention` shorter than a holder stands
 * still, and a resource outside of the database that was reached after the transaction had ended.
 */
export class SqlFences implements OnApplicationBootstrap {
  private readonly reaper: PeriodicTask;
  private isPrepared = false;
  private purgedUpTo = '';

  constructor(
    private readonly sql: Sql,
    options: ResolvedSqlFencesOptions,
    incidents: Incidents,
    drains: DrainService,
  ) {
    this.reaper = new PeriodicTask({
      name: 'fence purge',
      everyMs: options.purgeEveryMs,
      run: () => this.reap(options.retentionMs),
      onError: (cause) =>
        incidents.report({
          code: 'FENCE_PURGE_FAILED',
          source: 'lock.sql-fences',
          message: 'The table of fences grows until a later purge succeeds',
          cause,
        }),
    });
    drains.register({ name: 'fence purge', phase: 'work', drain: () => this.reaper.stop() });
  }

  /**
   * Raises the fence of a resource. The same fence may come any number of times. Holds the resource until the
   * transaction ends; touch several in one fixed order, or transactions may deadlock.
   *
   * @param tx the transaction of what is guarded; `Sql` commits the touch at once, for a read of something elsewhere
   * @param resource 1 to 512 characters, none of them a control character
   * @throws StaleFenceError when a greater fence has been here; let the transaction roll back
   * @throws FenceMisuseError before anything is sent, when the fence or the name is none
   * @throws StoreUnavailableError when the table was still to be made, which needs a second connection
   * @throws what the database threw, as it is
   */
  async touch(tx: SqlStatements, resource: string, fence: bigint): Promise<void> {
    assertResource(resource);
    assertFence(fence);
    await this.prepare();
    const [row] = await tx.query<{ readonly seen: string }>(TOUCH, [resource, fence.toString()]);
    const seen = BigInt(row?.seen ?? fence);
    if (seen > fence) throw new StaleFenceError(fence, seen, resource);
  }

  /**
   * Forgets resources that were last touched longer ago, in small transactions.
   *
   * @returns how many were forgotten
   */
  async purge(olderThanMs: number): Promise<number> {
    durationMs(olderThanMs, 'olderThanMs');
    await this.prepare();
    let total = 0;
    let from: string | undefined = '';
    while (from !== undefined) {
      const step: PurgeStep = await this.purgePage(from, olderThanMs);
      total += step.purged;
      from = step.next;
    }
    return total;
  }

  /** Sees to it that the table is there, and purges it from then on; see `Sql.ensureMigrated`. */
  async prepare(): Promise<void> {
    await this.sql.ensureMigrated({
      name: 'fence',
      directory: new URL(`./migrations/${this.sql.dialect}/`, import.meta.url),
    });
    if (this.isPrepared) return;
    this.isPrepared = true;
    this.reaper.wake();
  }

  /** Here and not in `prepare`, whose caller's transaction and trace the loop would be part of for ever. */
  onApplicationBootstrap(): void {
    this.reaper.start();
  }

  private async reap(retentionMs: number): Promise<'again' | undefined> {
    if (!this.isPrepared) return undefined;
    const { next } = await this.purgePage(this.purgedUpTo, retentionMs);
    this.purgedUpTo = next ?? '';
    return next === undefined ? undefined : 'again';
  }

  private async purgePage(from: string, olderThanMs: number): Promise<PurgeStep> {
    const [page] = await this.sql.query<{ last: string | null; seen: string; purged: string }>(PURGE, [
      from,
      PURGE_BATCH,
      olderThanMs,
    ]);
    const isLast = Number(page?.seen) < PURGE_BATCH;
    return { purged: Number(page?.purged), next: isLast ? undefined : (page?.last ?? undefined) };
  }
}

interface PurgeStep {
  readonly purged: number;
  /** Where the next page begins; undefined after the last one. */
  readonly next: string | undefined;
}

function resolveSqlFencesOptions(options: SqlFencesOptions): ResolvedSqlFencesOptions {
  const { fenceRetention = '14d', purgeEvery = '1h' } = options;
  return Object.freeze({
    retentionMs: durationMs(fenceRetention, 'fenceRetention', { minMs: 3_600_000 }),
    purgeEveryMs: durationMs(purgeEvery, 'purgeEvery', { minMs: 1_000 }),
  });
}
