import 'reflect-metadata';
import { newWebhookSecret } from '@lockstep/outbox/notifications';
import type { Sql } from '@lockstep/sql';
import { type ChildHandle, eventually, type SpawnNodeOptions, spawnNode } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type NotificationApplication,
  type NotificationApplicationOptions,
  startNotifications,
} from './support/notification-application.js';
import { NOTIFICATION_SERVERS } from './support/notification-servers.js';
import { Partner } from './support/partner.js';

const SHOP = new URL('./support/partner-process.mjs', import.meta.url);
const STEPS = [
  'notifications.appended',
  'sql.commit.before',
  'sql.commit.after',
  'notifications.claimed',
  'notifications.sending',
  'notifications.answered',
  'notifications.settled',
];
const PATIENCE = { timeoutMs: 12_000 };

describe.each(NOTIFICATION_SERVERS)('Crashes while notifying, in $name', (server) => {
  const database = server.use();
  const children: ChildHandle[] = [];
  const heirs: NotificationApplication[] = [];
  let app: NotificationApplication;
  let sql: Sql;
  let partner: Partner;
  const secret = newWebhookSecret();

  beforeAll(async () => {
    app = await start({ run: { worker: false } });
    sql = app.sql;
    await sql.execute('CREATE TABLE orders (notification_id varchar(100) NOT NULL)');
  });
  afterAll(() => app.app.close());
  beforeEach(async () => {
    partner = await Partner.start();
    await server.empty(sql);
    await sql.execute('DELETE FROM orders');
    await app.endpoints.register({ id: 'shop', url: partner.url, secret });
  });
  afterEach(async () => {
    await Promise.all(children.splice(0).map((child) => child.sigkill()));
    await Promise.all(heirs.splice(0).map((heir) => heir.app.close()));
    await partner.stop();
  });

  const start = (options: Partial<NotificationApplicationOptions> = {}) =>
    startNotifications({ url: database.url, schedule: [0, 50, 50, 50], timeout: 250, leaseTtl: 500, ...options });
  /** Another process, as far as the database can tell. */
  const heir = async (options: Partial<NotificationApplicationOptions> = {}): Promise<void> =>
    void heirs.push(await start(options));
  const shop = (env: Record<string, string>, options: SpawnNodeOptions = {}): ChildHandle => {
    const child = spawnNode(SHOP, { ...options, env: { DATABASE_URL: database.url, ...env } });
    children.push(child);
    return child;
  };
  const committed = async () => {
    const rows = await sql.query<{ id: string }>('SELECT notification_id AS id FROM orders');
    return rows.map(({ id }) => id).sort();
  };
  /** Every committed order arrived at least once, by one id and one body, and nothing else did. */
  const untilBalanced = () =>
    eventually(async () => {
      const open = await sql.query("SELECT id FROM lockstep_notification WHERE state <> 'delivered'");
      expect(open).toEqual([]);
      expect([...new Set(partner.ids())].sort()).toEqual(await committed());
      expect(new Set(partner.received.map(({ id, body }) => `${id} ${body}`)).size).toBe(new Set(partner.ids()).size);
    }, PATIENCE);

  it.each(server.name === 'postgres' ? STEPS : ['notifications.claimed', 'notifications.answered'])(
    'loses nothing, and sends nothing that was undone, when it is killed at %s',
    async (name) => {
      const victim = shop({ ORDERS: '12' }, { killAt: { name, hit: 3 } });
      expect(await victim.exited).toMatchObject({ signal: 'SIGKILL' });
      await heir();
      await untilBalanced();
      for (const got of partner.received) Partner.verify(got, secret);
      expect(victim.unhandledRejections).toEqual([]);
      expect((await committed()).length).toBeGreaterThan(0);
    },
    60_000,
  );

  it('settles nothing late that was paused past its lease, while another process delivers', async () => {
    const paused = shop({ ORDERS: '1', ROLES: 'web,worker' }, { pauseAt: 'notifications.answered' });
    await paused.reached('notifications.answered', 25_000);
    partner.react([{ status: 500 }]);
    await heir();
    await untilBalanced();
    expect(partner.received).toHaveLength(3);
    const before = await sql.query('SELECT epoch, log FROM lockstep_notification');
    paused.sigcont();
    await paused.reached('notifications.settled');
    expect(await sql.query('SELECT epoch, log FROM lockstep_notification')).toEqual(before);
    expect(paused.unhandledRejections).toEqual([]);
  }, 60_000);

  it('disables no endpoint by a 410 that is written down past the lease, when others have delivered', async () => {
    partner.react([{ status: 410 }]);
    const paused = shop({ ORDERS: '1', ROLES: 'web,worker' }, { pauseAt: 'notifications.answered' });
    await paused.reached('notifications.answered', 25_000);
    await heir();
    await untilBalanced();
    paused.sigcont();
    await paused.reached('notifications.settled');
    expect(await app.endpoints.find('shop')).toMatchObject({ disabledAt: undefined });
  }, 60_000);

  it('doubles nothing when it is asked to end while it sends, beside another process', async () => {
    // Long enough that nothing is late here, on a slow machine either.
    const leaving = shop({ ROLES: 'worker', TIMEOUT_MS: '8000' });
    await leaving.waitForLine(/ready/, 25_000);
    await heir({ timeout: 8_000, leaseTtl: 16_000 });
    for (let n = 0; n < 30; n += 1) {
      await sql.transaction(async (tx) => {
        const id = await app.notifications.send({ endpoint: 'shop', type: 'order.placed', data: { n } });
        await tx.execute('INSERT INTO orders (notification_id) VALUES ($1)', [id]);
      });
    }
    await leaving.reached({ name: 'notifications.settled', hit: 3 }, 25_000);
    leaving.sigterm();
    await leaving.exited;
    await untilBalanced();
    expect(partner.received).toHaveLength(30);
  }, 60_000);
});
