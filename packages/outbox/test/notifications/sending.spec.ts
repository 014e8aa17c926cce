import 'reflect-metadata';
import { BestEffortNotify, newWebhookSecret } from '@lockstep/outbox/notifications';
import { Sql, Transactional, TransactionRequiredError } from '@lockstep/sql';
import { pgTransaction } from '@lockstep/sql/postgres';
import { usePostgres } from '@lockstep/testing/vitest';
import { Injectable } from '@nestjs/common';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type NotificationApplication, startNotifications } from './support/notification-application.js';

interface Order {
  readonly id: string;
  readonly partner: string | undefined;
}

@Injectable()
class Orders {
  runs = 0;

  @Transactional()
  @BestEffortNotify({
    endpoint: (order: Order) => order.partner,
    type: 'order.shipped',
    body: ({ id }: Order) => ({ id }),
    id: ({ id }: Order) => `shipped-${id}`,
  })
  async ship(order: Order): Promise<Order> {
    this.runs += 1;
    return order;
  }

  @BestEffortNotify({ endpoint: 'shop', type: 'order.paid' })
  async pay(order: Order): Promise<Order> {
    this.runs += 1;
    return order;
  }
}

describe('Sending', () => {
  const postgres = usePostgres();
  let application: NotificationApplication;
  let sql: Sql;
  let orders: Orders;

  beforeAll(async () => {
    application = await startNotifications({
      url: postgres.url,
      run: { worker: false },
      secrets: [newWebhookSecret()],
      maxBodyBytes: 1_024,
      targets: {},
      providers: [Orders],
    });
    ({ sql } = application);
    orders = application.app.get(Orders);
    await application.endpoints.register({ id: 'shop', url: 'https://shop.example/hook' });
  });
  afterAll(() => application.app.close());
  beforeEach(async () => {
    orders.runs = 0;
    await sql.execute('DELETE FROM lockstep_notification');
  });

  const rows = () =>
    sql.query<{ id: string; endpoint: string; url: string | null; body: string }>(
      'SELECT id, endpoint_id AS endpoint, url, body FROM lockstep_notification ORDER BY created_at',
    );
  const send = (options: object) =>
    sql.transaction(() =>
      application.notifications.send({ endpoint: 'shop', type: 't', data: { n: 1 }, ...options } as never),
    );

  it('writes what a decorated method did, with its transaction, and passes the result unchanged', async () => {
    const order = { id: 'o-1', partner: 'shop' };
    expect(await orders.ship(order)).toBe(order);
    const [row] = await rows();
    expect(row).toMatchObject({ id: 'shipped-o-1', endpoint: 'shop' });
    expect(JSON.parse(row?.body ?? '')).toEqual({
      type: 'order.shipped',
      timestamp: expect.stringMatching(/Z$/),
      data: { id: 'o-1' },
    });
  });

  it('notifies nobody where the method names nobody, and once where it is called twice for one event', async () => {
    await orders.ship({ id: 'o-1', partner: undefined });
    expect(await rows()).toEqual([]);
    await orders.ship({ id: 'o-2', partner: 'shop' });
    await orders.ship({ id: 'o-2', partner: 'shop' });
    expect(await rows()).toHaveLength(1);
  });

  it('refuses without a transaction, before the method runs', async () => {
    await expect(orders.pay({ id: 'o-1', partner: 'shop' })).rejects.toBeInstanceOf(TransactionRequiredError);
    expect(orders.runs).toBe(0);
    const alone = application.notifications.send({ endpoint: 'shop', type: 't', data: {} });
    await expect(alone).rejects.toBeInstanceOf(TransactionRequiredError);
  });

  it('forgets what a transaction or a savepoint takes back', async () => {
    const failure = new Error('no');
    const undone = sql.transaction(async () => {
      await application.notifications.send({ endpoint: 'shop', type: 't', data: {} });
      throw failure;
    });
    await expect(undone).rejects.toBe(failure);
    await sql.transaction(async (tx) => {
      const nested = tx.savepoint?.(async () => {
        await application.notifications.send({ endpoint: 'shop', type: 't', data: {}, id: 'undone' });
        throw failure;
      });
      await expect(nested).rejects.toBe(failure);
      await application.notifications.send({ endpoint: 'shop', type: 't', data: {}, id: 'kept' });
    });
    expect((await rows()).map(({ id }) => id)).toEqual(['kept']);
  });

  it('joins a transaction that is passed to it', async () => {
    const client = new pg.Client(postgres.url);
    await client.connect();
    await client.query('BEGIN');
    const tx = pgTransaction(client);
    await application.notifications.send({ endpoint: 'shop', type: 't', data: {}, tx });
    expect(await rows()).toEqual([]);
    await client.query('COMMIT');
    await client.end();
    expect(await rows()).toHaveLength(1);
  });

  it('leaves the transaction usable after what it refuses', async () => {
    await send({ id: 'taken' });
    await sql.transaction(async (tx) => {
      const taken = application.notifications.send({ endpoint: 'shop', type: 'other', data: {}, id: 'taken' });
      await expect(taken).rejects.toMatchObject({ code: 'NOTIFICATION_ID_TAKEN' });
      const unknown = application.notifications.send({ endpoint: 'nobody', type: 't', data: {} });
      await expect(unknown).rejects.toMatchObject({ code: 'NOTIFICATION_ENDPOINT_UNKNOWN' });
      await tx.query('SELECT 1 AS one');
    });
  });

  it.each<[what: string, options: object]>([
    ['no endpoint and no url', { endpoint: undefined }],
    ['both', { url: 'https://shop.example/' }],
    ['an endpoint that stands for a url', { endpoint: 'url:1' }],
    ['a type with a line break', { type: 'a\nb' }],
    ['an empty type', { type: '' }],
    ['an id with a dot', { id: 'a.b' }],
    ['an id with a line break', { id: 'a\r\nx-evil: 1' }],
    ['data that JSON loses', { data: { price: new Map() } }],
    ['no data', { data: undefined }],
    ['too much data', { data: 'x'.repeat(1_024) }],
    ['a url of the inside', { endpoint: undefined, url: 'https://127.0.0.1/' }],
    ['a url without encryption', { endpoint: undefined, url: 'http://shop.example/' }],
    ['a url with credentials', { endpoint: undefined, url: 'https://a:b@shop.example/' }],
  ])('refuses %s, before anything is written', async (_what, options) => {
    await expect(send(options)).rejects.toMatchObject({ code: 'NOTIFICATION_INVALID' });
    expect(await rows()).toEqual([]);
  });

  it('takes a url, which becomes an endpoint of its own', async () => {
    await send({ endpoint: undefined, url: 'https://shop.example/a#b' });
    await send({ endpoint: undefined, url: 'https://shop.example/a' });
    const [one, two] = await rows();
    expect(one).toMatchObject({ url: 'https://shop.example/a', endpoint: expect.stringMatching(/^url:[0-9a-f]{40}$/) });
    expect(two?.endpoint).toBe(one?.endpoint);
  });

  describe('Endpoints', () => {
    const endpoints = () => application.endpoints;

    it('give their secret out once, and never show it again', async () => {
      const { secret } = await endpoints().register({ id: 'bank', url: 'https://bank.example/hook' });
      expect(secret).toMatch(/^whsec_/);
      expect(JSON.stringify(await endpoints().list())).not.toContain('whsec_');
      expect(await endpoints().find('bank')).toMatchObject({ url: 'https://bank.example/hook', disabledAt: undefined });
      const again = endpoints().register({ id: 'bank', url: 'https://bank.example/' });
      await expect(again).rejects.toMatchObject({ code: 'NOTIFICATION_ENDPOINT_EXISTS' });
    });

    it('keep at most five secrets however many rotate at once, and lose none of two changes', async () => {
      await endpoints().register({ id: 'busy', url: 'https://busy.example/' });
      const rotations = Array.from({ length: 3 }, () => endpoints().rotateSecret('busy'));
      await Promise.all([...rotations, endpoints().update('busy', { url: 'https://moved.example/' })]);
      for (let n = 0; n < 4; n += 1) await endpoints().rotateSecret('busy');
      const { url, secrets = [] } = (await endpoints().find('busy')) ?? {};
      expect(url).toBe('https://moved.example/');
      expect(secrets).toHaveLength(5);
      expect(secrets.filter(({ until }) => until === undefined)).toHaveLength(1);
    });

    it('cancel what is pending when they are disabled', async () => {
      const id = await send({});
      await endpoints().disable('shop');
      expect(await application.notifications.find(id)).toMatchObject({ state: 'cancelled' });
      await endpoints().enable('shop');
    });

    it.each([
      ['a name that is none', { id: 'url:1', url: 'https://a.example/' }],
      ['a secret that is none', { id: 'a', url: 'https://a.example/', secret: 'whsec_short' }],
      ['a target of the inside', { id: 'a', url: 'https://10.0.0.1/' }],
    ])('are not registered with %s', async (_what, options) => {
      await expect(endpoints().register(options)).rejects.toMatchObject({ kind: 'misuse' });
    });

    it('that nobody registered are not changed', async () => {
      const unknown = { code: 'NOTIFICATION_ENDPOINT_UNKNOWN' };
      await expect(endpoints().update('nobody', { url: 'https://a.example/' })).rejects.toMatchObject(unknown);
      await expect(endpoints().rotateSecret('nobody')).rejects.toMatchObject(unknown);
      await expect(endpoints().enable('nobody')).rejects.toMatchObject(unknown);
      await expect(endpoints().disable('nobody')).rejects.toMatchObject(unknown);
    });
  });
});
