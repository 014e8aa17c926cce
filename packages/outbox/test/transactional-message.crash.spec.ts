import { type CheckpointHit, type ChildHandle, eventually, type SpawnNodeOptions, spawnNode } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const SHOP = new URL('./support/half-process.mjs', import.meta.url);
const PATIENCE = { timeoutMs: 12_000 };

type Mode = 'own' | 'foreign' | 'bank';

describe('Processes that are killed around a transactional message', () => {
  const postgres = usePostgres();
  const children: ChildHandle[] = [];
  let db: pg.Client;

  beforeAll(async () => {
    db = new pg.Client(postgres.url);
    await db.connect();
  });
  afterAll(() => db.end());
  beforeEach(async () => {
    await db.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
    await db.query('CREATE TABLE payment (id int PRIMARY KEY); CREATE TABLE points (payment int NOT NULL)');
  });
  afterEach(async () => {
    await Promise.all(children.splice(0).map((child) => child.sigkill()));
  });

  const shop = (mode: Mode, options: SpawnNodeOptions = {}, first = 0, payments = 0) => {
    const env = { DATABASE_URL: postgres.url, MODE: mode, FIRST: String(first), PAYMENTS: String(payments) };
    const child = spawnNode(SHOP, { env, ...options });
    children.push(child);
    return child;
  };
  const column = async (text: string): Promise<number[]> => {
    const { rows } = await db.query<{ id: number }>(text);
    return rows.map(({ id }) => Number(id));
  };
  const OPEN = `SELECT (SELECT count(*) FROM lockstep_outbox) + (SELECT count(*) FROM lockstep_outbox_inflight)
    + (SELECT count(*) FROM lockstep_outbox_prepared WHERE state IN ('prepared', 'undecided')) AS id`;
  /** A message for a transaction that is not committed, a tombstone that the state of the message contradicts, or none. */
  const CONTRADICTIONS = `SELECT count(*) AS id FROM lockstep_outbox_prepared half
    LEFT JOIN lockstep_outbox_decision tombstone ON tombstone.gid = half.id
    WHERE tombstone.decision = 'commit' AND half.state <> 'committed'
      OR tombstone.decision = 'rollback' AND half.state <> 'rolled-back'`;
  /** Every payment that is committed has its points, once, and nothing else has any. */
  const untilBalanced = () =>
    eventually(async () => {
      expect(await column(OPEN)).toEqual([0]);
      expect(await column('SELECT payment AS id FROM points ORDER BY payment')).toEqual(
        await column('SELECT id FROM payment ORDER BY id'),
      );
      expect(await column(CONTRADICTIONS)).toEqual([0]);
    }, PATIENCE);

  it.each<[Mode, readonly CheckpointHit[]]>([
    [
      'own',
      [
        { name: 'outbox.half.prepared', hit: 3 },
        { name: 'outbox.half.worked', hit: 3 },
        { name: 'outbox.half.committed', hit: 3 },
        { name: 'outbox.half.rolled-back', hit: 1 },
      ],
    ],
    [
      'foreign',
      [
        { name: 'outbox.half.prepared', hit: 3 },
        { name: 'bank.charged', hit: 3 },
        { name: 'outbox.half.worked', hit: 3 },
      ],
    ],
    [
      'bank',
      [
        { name: 'outbox.half.prepared', hit: 3 },
        { name: 'bank.charged', hit: 3 },
        { name: 'outbox.half.worked', hit: 3 },
        { name: 'outbox.half.checked', hit: 1 },
      ],
    ],
  ])(
    'lose and invent no message, wherever they die (work: %s)',
    async (mode, kills) => {
      // The tables first: they all need them.
      const first = shop(mode);
      await first.waitForLine(/paid/);
      // The one that dies at a check needs one: what the last of the others leaves open, nobody else must look into.
      await first.sigkill();
      const victims = kills.map((killAt, index) => shop(mode, { killAt }, 1 + 100 * index, 6));
      for (const { exited } of victims) expect(await exited).toMatchObject({ signal: 'SIGKILL' });
      shop(mode);
      await untilBalanced();
      expect(children.flatMap(({ unhandledRejections }) => unhandledRejections)).toEqual([]);
      expect((await column('SELECT id FROM payment')).length).toBeGreaterThanOrEqual(2 * kills.length);
    },
    30_000,
  );

  it('leave a check to the next one, wherever they die', async () => {
    await shop('own', { killAt: 'outbox.half.worked' }, 1, 1).exited;
    for (const killAt of ['outbox.half.checked', 'outbox.half.committed']) {
      expect(await shop('own', { killAt }).exited).toMatchObject({ signal: 'SIGKILL' });
    }
    shop('own');
    await untilBalanced();
    expect(await column('SELECT id FROM payment ORDER BY id')).toEqual([1]);
  }, 30_000);

  it('roll back the transaction that was paused before it joined, and wakes up after the check-back', async () => {
    const paused = shop('own', { pauseAt: 'outbox.half.prepared' }, 1, 1);
    await paused.reached('outbox.half.prepared');
    shop('own');
    await eventually(async () => {
      const { rows } = await db.query('SELECT state FROM lockstep_outbox_prepared');
      expect(rows).toEqual([{ state: 'rolled-back' }]);
    }, PATIENCE);
    paused.sigcont();
    await paused.waitForLine(/MESSAGE_ALREADY_ROLLED_BACK/);
    await untilBalanced();
    expect(await column('SELECT id FROM payment')).toEqual([]);
  }, 30_000);
});
