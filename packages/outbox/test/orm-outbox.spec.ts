import 'reflect-metadata';
import { OutboxService } from '@lockstep/outbox';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ORM_LIBRARIES, type OrmApplication, type OrmTransaction } from '../../sql/test/support/orm-libraries.js';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';

const ON_POSTGRES = ORM_LIBRARIES.filter(({ server }) => server === 'postgres');

describe('Publishing in the transaction of a library', () => {
  const postgres = usePostgres();
  let application: OutboxApplication;
  let outbox: OutboxService;

  beforeAll(async () => {
    application = await startOutbox({ url: postgres.url, run: { relay: false, consumers: false } });
    outbox = application.app.get(OutboxService);
    await application.sql.execute('CREATE TABLE purchase (id text PRIMARY KEY)');
  });
  afterAll(() => application.app.close());
  beforeEach(() => application.sql.execute('TRUNCATE purchase, lockstep_outbox'));

  describe.each(ON_POSTGRES)('with $name', (library) => {
    let orm: OrmApplication;
    beforeAll(async () => {
      orm = await library.open(postgres.url);
    });
    afterAll(() => orm.close());

    const place = async (tx: OrmTransaction, id: string) => {
      await tx.run(`INSERT INTO purchase VALUES ('${id}')`);
      return outbox.publish('order.placed', { id, note: "what? for $1, it's ☃" }, { tx: tx.handle(), key: id });
    };
    const purchases = async () => (await application.sql.query('SELECT id FROM purchase')).map(({ id }) => id);
    const messages = async () =>
      (await application.sql.query<{ payload: string }>('SELECT payload FROM lockstep_outbox')).map(
        ({ payload }) => JSON.parse(payload) as unknown,
      );

    it('leaves the row and its message after the commit, and neither before', async () => {
      await orm.transaction(async (tx) => {
        await place(tx, 'o-1');
        expect([await purchases(), await messages()]).toEqual([[], []]);
      });
      expect(await purchases()).toEqual(['o-1']);
      expect(await messages()).toEqual([{ id: 'o-1', note: "what? for $1, it's ☃" }]);
    });

    it('leaves neither after a rollback', async () => {
      const failure = new Error('business');
      const failing = orm.transaction(async (tx) => {
        await place(tx, 'o-1');
        throw failure;
      });
      await expect(failing).rejects.toBe(failure);
      expect([await purchases(), await messages()]).toEqual([[], []]);
    });

    it('takes several messages at once, and drops those of a savepoint with it', async () => {
      const batch = ['a', 'b', 'c'].map((id) => ({ topic: 'order.placed', body: { id } }));
      await orm.transaction(async (tx) => {
        const handle = tx.handle();
        await outbox.publishMany(batch, { tx: handle });
        const step = handle.savepoint?.(async () => {
          await outbox.publish('order.placed', { id: 'undone' }, { tx: handle });
          throw new Error('step');
        });
        await expect(step).rejects.toThrow('step');
      });
      expect(await messages()).toHaveLength(3);
      expect(await messages()).not.toContainEqual({ id: 'undone' });
    });

    it('publishes nothing once the transaction has ended', async () => {
      const handle = await orm.transaction(async (tx) => {
        await place(tx, 'o-1');
        return tx.handle();
      });
      const late = outbox.publish('order.placed', { id: 'late' }, { tx: handle });
      await expect(late).rejects.toMatchObject({ code: 'TRANSACTION_ENDED' });
      expect(await messages()).toHaveLength(1);
    });
  });
});
