import 'reflect-metadata';
import { explore } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';
import { StoreModel } from './support/store-model.js';

const RETENTION_MS = 3_600_000;
const done = { to: 'completed', response: '"done"', retentionMs: RETENTION_MS } as const;
const released = { to: 'released', notApplied: false, retentionMs: RETENTION_MS } as const;
const unknown = { to: 'uncertain' } as const;

describe('interleavings of the real statements', () => {
  const postgres = usePostgres();
  let opened: OpenSqlStore;
  beforeAll(async () => {
    opened = await openSqlStore(postgres.url);
  });
  afterAll(() => opened.close());

  /** Time cannot be set at a server, but the end of a lease can. */
  async function endLease(id: string): Promise<void> {
    await opened.sql.execute(
      `UPDATE lockstep_idempotency SET lease_until = clock_timestamp() - interval '1 second' WHERE id = $1 AND state = 'P'`,
      [id],
    );
  }

  it.each(['uncertain', 'retry'] as const)(
    'never give two live owners, policy %s',
    async (policy) => {
      const report = await explore({
        name: `idempotency store in SQL, policy ${policy}`,
        setup: () => new StoreModel(opened.store, policy, endLease),
        actors: (subject) => ({
          a: subject.owner('a', done),
          b: subject.owner('b', policy === 'retry' ? released : unknown),
          clock: subject.clock(),
          sweeper: subject.sweeper(),
        }),
        invariant: (subject) => subject.check(),
        finalInvariant: (subject) => subject.atTheEnd(),
        crashes: 1,
        // Depth first, the first schedules differ only at their ends; the random ones are those that take over.
        maxSchedules: 20,
        randomSchedules: 200,
        blockedAfterTicks: 100_000,
        deadlockAfterMs: 5_000,
      });
      expect(report.schedules).toBeGreaterThanOrEqual(220);
    },
    60_000,
  );
});
