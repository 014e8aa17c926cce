import { randomUUID } from 'node:crypto';
import { checkpoint } from '@lockstep/core';
import { DistributedLock } from '@lockstep/lock';
import { Outbox } from '@lockstep/outbox';
import { Sql, Transactional } from '@lockstep/sql';
import { ConflictException, Inject, Injectable, NotFoundException } from '@nestjs/common';
import { StockService } from '../stock/stock.service.js';
import { type ListedOrder, ORDER_EVENTS, type Order, type OrderEvent, type PlaceOrder, type Quote } from './order.js';
import { OrderRepository } from './order.repository.js';
import { OrderEvents } from './order-events.js';

/** No order was written: this request has one already, or there is no such product. */
class NothingWritten extends Error {}

/** An order together with whose it is: what the message about it needs. */
interface PlacedOrder extends Order {
  readonly buyerId: string;
}

@Injectable()
export class OrdersService {
  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(OrderRepository) private readonly orders: OrderRepository,
    @Inject(StockService) private readonly stock: StockService,
    @Inject(OrderEvents) private readonly events: OrderEvents,
  ) {}

  /**
   * The order of a request, placed now or earlier. `@Idempotent` on the route makes repetitions rare; a request whose
   * first process died after its commit comes here again and gets the order that it has.
   */
  async placeOnce(request: PlaceOrder): Promise<Order> {
    const earlier = await this.orders.findByRequest(request.buyerId, request.requestId);
    if (earlier) return earlier;
    try {
      const { buyerId: _, ...order } = await this.place(request);
      return order;
    } catch (error) {
      if (!(error instanceof NothingWritten)) throw error;
      // Its first process was not dead but slow, and has committed between our look-up and our attempt.
      const twin = await this.orders.findByRequest(request.buyerId, request.requestId);
      if (twin) return twin;
      if (!(await this.orders.hasProduct(request.sku))) throw noSuchProduct(request);
      throw soldOut(request);
    }
  }

  /**
   * Order, stock and messages in one transaction, one buyer at a time for each product. The order comes first: a request
   * whose twin took the last pieces must meet its own order, not the empty shelf.
   */
  @DistributedLock({ key: (request: PlaceOrder) => `sku:${request.sku}`, ttl: '10s', wait: '10s' })
  @Transactional()
  @Outbox(ORDER_EVENTS, {
    key: (order: PlacedOrder) => order.id,
    body: ({ id, ...order }: PlacedOrder): OrderEvent => ({ kind: 'placed', orderId: id, ...order }),
  })
  async place(request: PlaceOrder): Promise<PlacedOrder> {
    const tx = this.sql.requireCurrent('placing an order');
    const order = await this.orders.insert(tx, randomUUID(), request);
    if (!order) throw new NothingWritten();
    if (!(await this.stock.take(tx, request.sku, request.qty))) throw soldOut(request);
    await this.events.awaitPayment(tx, order.id);
    tx.afterCommit?.(() => checkpoint('mall.order.committed', { order: order.id }));
    return { ...order, buyerId: request.buyerId };
  }

  async quote(sku: string, qty: number): Promise<Quote> {
    const quote = await this.orders.quote(sku, qty);
    if (!quote) throw noSuchProduct({ sku });
    return quote;
  }

  listOf(buyerId: string): Promise<ListedOrder[]> {
    return this.orders.listOf(buyerId);
  }
}

function noSuchProduct({ sku }: Pick<PlaceOrder, 'sku'>): NotFoundException {
  return new NotFoundException({ code: 'NO_SUCH_PRODUCT', message: `No such product: ${sku}` });
}

function soldOut({ sku, qty }: PlaceOrder): ConflictException {
  return new ConflictException({ code: 'SOLD_OUT', message: `There are not ${qty} pieces of ${sku}` });
}
