import type { OutboxRecord } from '@lockstep/outbox';
import { describePreparedMessageStoreContract, PreparedBench } from '@lockstep/outbox/contract';
import { eventually } from '@lockstep/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MemoryPreparedMessageStore } from '../dist/drivers/memory/memory-prepared-message-store.js';
import type { PreparedStatements } from '../dist/drivers/sql/prepared-statements.js';
import { memoryTransaction } from './support/memory-transaction.js';
import { type OpenedPrepared, openPrepared, PREPARED_SERVERS } from './support/prepared-stores.js';

describePreparedMessageStoreContract({
  name: 'memory',
  open: async () => {
    const appended: OutboxRecord[] = [];
    return {
      store: new MemoryPreparedMessageStore((record) => void appended.push(record)),
      transaction: memoryTransaction,
      published: async () => appended.map(({ message, delayMs }) => ({ ...message, delayed: delayMs > 0 })),
      dispose: async () => undefined,
    };
  },
});

describe.each(PREPARED_SERVERS)('Half messages on $name', (server) => {
  const database = server.use();
  let opened: OpenedPrepared;

  beforeAll(async () => {
    opened = await openPrepared(server, database.url);
  }, 180_000);
  afterAll(() => opened?.app.close());

  describePreparedMessageStoreContract({ name: server.name, open: () => opened.ends() });

  describe('and a local transaction on another connection', () => {
    let bench: PreparedBench;
    beforeEach(async () => {
      bench = new PreparedBench(await opened.ends());
    });

    it('decides for rollback what was never begun, and refuses the transaction that begins then', async () => {
      const half = await bench.prepare();
      expect(await bench.store.standing(half.id)).toBe('rollback');
      const late = await server.begin(database.url);
      expect(await bench.store.join(late.tx, half.id, half.deadline)).toBe(false);
      await late.drop();
    });

    it('does not know while it is in flight, and finds its commit', async () => {
      const half = await bench.prepare();
      const local = await server.begin(database.url);
      expect(await bench.store.join(local.tx, half.id, half.deadline)).toBe(true);
      const asked = await Promise.all([bench.store.standing(half.id), bench.store.standing(half.id)]);
      expect(asked).toEqual(['unknown', 'unknown']);
      await local.commit();
      expect(await bench.store.standing(half.id)).toBe('commit');
    });

    it('does not know while it is in flight, and finds that its process has died', async () => {
      const half = await bench.prepare();
      const local = await server.begin(database.url);
      await bench.store.join(local.tx, half.id, half.deadline);
      expect(await bench.store.standing(half.id)).toBe('unknown');
      await local.drop();
      await eventually(async () => expect(await bench.store.standing(half.id)).toBe('rollback'));
      const late = await server.begin(database.url);
      expect(await bench.store.join(late.tx, half.id, half.deadline)).toBe(false);
      await late.drop();
    });

    it('refuses, by its own deadline, one that wakes up after everything about it was purged', async () => {
      const half = await bench.prepare({ joinWithinMs: 50 });
      const paused = await server.begin(database.url);
      expect(await bench.store.standing(half.id)).toBe('rollback');
      await bench.store.rollback(half.id, 'prepared');
      await eventually(async () => expect(await bench.store.purge(1)).toBe(1));
      expect(await bench.store.join(paused.tx, half.id, half.deadline)).toBe(false);
      await paused.drop();
    });

    it('gives to nobody else what another checker is claiming', async () => {
      const [first, second] = [await bench.prepare(), await bench.prepare()];
      const other = await server.begin(database.url);
      await other.tx.query('SELECT 1 FROM lockstep_outbox_prepared WHERE id = $1 FOR UPDATE', [first.id]);
      expect(await bench.due()).toEqual([second.id]);
      await other.drop();
      await eventually(async () => expect(await bench.due()).toEqual([first.id]));
    });
  });

  describe('with thousands that are parked or wait for a check that nobody has', () => {
    const MANY = 3_000;

    beforeAll(async () => {
      const bench = new PreparedBench(await opened.ends());
      await bench.prepare({ checker: 'Gone.strange' });
      await bench.prepare({ checker: 'Gone.parked' });
      await opened.sql.execute("UPDATE lockstep_outbox_prepared SET state = 'undecided' WHERE checker = 'Gone.parked'");
      for (const statement of server.multiply(MANY)) await opened.sql.execute(statement);
      for (let n = 0; n < 3; n += 1) await bench.prepare({ checker: 'Bank.paid' });
    }, 60_000);

    it.each<[keyof PreparedStatements, readonly unknown[]]>([
      ['waiting', []],
      ['lockDue', ['Bank.paid', 8]],
      ['undecided', ['00000000-0000-0000-0000-000000000000', 10]],
    ])('%s reads no more than without them', async (name, params) => {
      const { rows, read } = await opened.sql.transaction((tx) => server.rowsRead(tx, server.statements[name], params));
      expect(rows).toBeGreaterThan(1);
      expect(read).toBeLessThan(60);
    });
  });
});
