import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { IdempotencyModule, Idempotent, IdempotentConsumer } from '@lockstep/idempotency';
import { sqlIdempotencyStore, sqlInbox } from '@lockstep/idempotency/sql';
import { DistributedLock, LockModule } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { Outbox, OutboxModule, OutboxService } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { RedisModule } from '@lockstep/redis';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { Body, Controller, type INestApplication, Inject, Injectable, NotFoundException, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { v7 } from 'uuid';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const redis = useRedis();
const postgres = usePostgres();

interface Order {
  readonly name: string;
}

const byName = { key: ({ name }: Order) => name, scope: 'global', mode: 'transactional' } as const;

/** Runs after row and message are written, and may fail. */
let afterwards: () => Promise<void> = async () => undefined;

@Injectable()
class Orders {
  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(OutboxService) private readonly outbox: OutboxService,
  ) {}

  @Outbox('order.placed', { key: ({ name }: Order) => name })
  async insert({ name }: Order): Promise<Order> {
    await this.sql.requireCurrent('orders').execute('INSERT INTO orders (name) VALUES ($1)', [name]);
    return { name };
  }

  async write(order: Order): Promise<Order> {
    await this.insert(order);
    await afterwards();
    return order;
  }

  @Idempotent(byName)
  async place(order: Order): Promise<Order> {
    return this.write(order);
  }

  @Idempotent({ ...byName, operation: 'orders.decorated' })
  @Outbox('order.placed', { key: ({ name }: Order) => name })
  async decorated(order: Order): Promise<Order> {
    await this.sql.requireCurrent('orders').execute('INSERT INTO orders (name) VALUES ($1)', [order.name]);
    await afterwards();
    return order;
  }

  @Idempotent({ ...byName, operation: 'orders.published' })
  async published(order: Order): Promise<Order> {
    const tx = this.sql.requireCurrent('orders');
    await tx.execute('INSERT INTO orders (name) VALUES ($1)', [order.name]);
    await this.outbox.publish('order.placed', order, { tx, key: order.name });
    await afterwards();
    return order;
  }

  /** Each order takes the next number; only the lock keeps two of them from taking the same. */
  @DistributedLock({ key: () => 'order-numbers' })
  @Idempotent({ ...byName, operation: 'orders.numbered' })
  async numbered({ name }: Order): Promise<number> {
    const tx = this.sql.requireCurrent('orders');
    const [row] = await tx.query<{ last: number | null }>('SELECT max(number) AS last FROM orders');
    await afterwards();
    const number = (row?.last ?? 0) + 1;
    await tx.execute('INSERT INTO orders (name, number) VALUES ($1, $2)', [name, number]);
    return number;
  }

  @DistributedLock({ key: () => 'order-numbers' })
  @IdempotentConsumer({ consumer: 'orders', messageId: (id: string) => id, mode: 'transactional' })
  async received(_id: string, order: Order): Promise<undefined> {
    await this.write(order);
  }
}

@Controller('orders')
class OrdersController {
  constructor(@Inject(Orders) private readonly orders: Orders) {}

  @Post()
  @Idempotent({ mode: 'transactional' })
  async place(@Body() order: Order): Promise<Order> {
    return this.orders.write(order);
  }
}

describe('an operation in one transaction, with what stands around and inside of it', () => {
  let apps: INestApplication[] = [];
  let sql: Sql;

  beforeAll(async () => {
    apps = [await start(Orders), await start(Orders)];
    sql = app().get(Sql);
    await sql.execute('CREATE TABLE orders (name text NOT NULL, number int)');
  });
  afterAll(() => Promise.all(apps.map((one) => one.close())));
  beforeEach(() => sql.execute('TRUNCATE orders'));
  afterEach(() => {
    afterwards = async () => undefined;
  });

  async function start(orders: new (...args: never[]) => unknown): Promise<INestApplication> {
    const testing = await Test.createTestingModule({
      controllers: orders === Orders ? [OrdersController] : [],
      providers: [orders],
      imports: [
        RedisModule.forRoot({ url: redis.url, namespace: redis.prefix }),
        LockModule.forRoot({ store: redisLockStore(), wait: '10s' }),
        SqlModule.forRoot({ driver: pgDriver({ url: postgres.url, maxConnections: 8 }) }),
        OutboxModule.forRoot({
          store: postgresOutboxStore(),
          origin: 'shop',
          run: { relay: false, consumers: false },
        }),
        IdempotencyModule.forRoot({
          store: sqlIdempotencyStore(),
          inbox: sqlInbox(),
          scope: 'global',
          secret: 'a secret that only the tests know',
          onConcurrent: { wait: '10s' },
        }),
      ],
    }).compile();
    const made = testing.createNestApplication({ logger: false });
    await made.listen(0, '127.0.0.1');
    return made;
  }

  function app(index = 0): INestApplication {
    return apps[index % apps.length] as INestApplication;
  }

  async function post(order: Order, index: number): Promise<number> {
    const headers = { 'content-type': 'application/json', 'idempotency-key': `key-of-${order.name}` };
    const url = `${await app(index).getUrl()}/orders`;
    const { status } = await fetch(url, { method: 'POST', headers, body: JSON.stringify(order) });
    return status;
  }

  /** Business rows and messages of an order. */
  async function found({ name }: Order): Promise<readonly number[]> {
    const rows = await sql.query('SELECT 1 FROM orders WHERE name = $1', [name]);
    const messages = await sql.query('SELECT 1 FROM lockstep_outbox WHERE key = $1', [name]);
    return [rows.length, messages.length];
  }

  const calls: readonly (readonly [string, (order: Order, index: number) => Promise<unknown>])[] = [
    ['a method that calls one with @Outbox', (order, index) => app(index).get(Orders).place(order)],
    ['a method with @Outbox below', (order, index) => app(index).get(Orders).decorated(order)],
    ['a method that publishes', (order, index) => app(index).get(Orders).published(order)],
    ['a route', post],
  ];

  describe.each(calls)('by %s', (_name, call) => {
    it('commits row and message once, whatever number of duplicates two processes get', async () => {
      const order = { name: randomUUID() };
      const results = await Promise.all(Array.from({ length: 8 }, (_, index) => call(order, index)));
      expect(results).toEqual(results.map(() => results[0]));
      expect(await found(order)).toEqual([1, 1]);
    });

    it('leaves neither row nor message where it fails, and both once it succeeds', async () => {
      const order = { name: randomUUID() };
      afterwards = () => Promise.reject(new Error('broken'));
      expect(await outcomeOf(call(order, 0))).toMatch(/broken|500/);
      expect(await found(order)).toEqual([0, 0]);
      afterwards = async () => undefined;
      await call(order, 1);
      expect(await found(order)).toEqual([1, 1]);
    });

    it('stores a final refusal with neither row nor message', async () => {
      const order = { name: randomUUID() };
      afterwards = () => Promise.reject(new NotFoundException('no such book'));
      expect(await outcomeOf(call(order, 0))).toMatch(/no such book|404/);
      afterwards = async () => undefined;
      expect(await outcomeOf(call(order, 1))).toMatch(/no such book|404/);
      expect(await found(order)).toEqual([0, 0]);
    });
  });

  it('commits before a lock above is released, so that the next one sees it', async () => {
    const names = Array.from({ length: 8 }, () => randomUUID());
    afterwards = () => new Promise((resolve) => setImmediate(resolve));
    const numbers = await Promise.all(names.map((name, index) => app(index).get(Orders).numbered({ name })));
    expect(numbers.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const again = await Promise.all(
      names.map((name, index) =>
        app(index + 1)
          .get(Orders)
          .numbered({ name }),
      ),
    );
    expect(again).toEqual(numbers);
  });

  it('handles a message once below a lock, together with the message that it publishes', async () => {
    const [id, order] = [v7(), { name: randomUUID() }];
    afterwards = () => Promise.reject(new Error('broken'));
    await expect(app().get(Orders).received(id, order)).rejects.toThrow('broken');
    expect(await found(order)).toEqual([0, 0]);
    afterwards = async () => undefined;
    await Promise.all([0, 1, 2, 3].map((index) => app(index).get(Orders).received(id, order)));
    expect(await found(order)).toEqual([1, 1]);
  });

  it('does not start with a lock below, which would end before the commit', async () => {
    @Injectable()
    class Below {
      @Idempotent(byName)
      @DistributedLock({ key: () => 'order-numbers' })
      async place(_order: Order): Promise<void> {}
    }
    @Injectable()
    class Receiving {
      @IdempotentConsumer({ consumer: 'orders', messageId: (id: string) => id, mode: 'transactional' })
      @DistributedLock({ key: () => 'order-numbers' })
      async received(_id: string): Promise<void> {}
    }
    await expect(start(Below)).rejects.toThrow('Write @DistributedLock above @Idempotent');
    await expect(start(Receiving)).rejects.toThrow('Write @DistributedLock above @IdempotentConsumer');
  });
});

function outcomeOf(call: Promise<unknown>): Promise<string> {
  return call.then(String, String);
}
