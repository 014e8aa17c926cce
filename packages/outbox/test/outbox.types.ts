import { type Message, OnMessage, Outbox } from '@lockstep/outbox';

interface Order {
  readonly id: string;
  readonly total: number;
}

export class Decorated {
  @Outbox('order.placed', { key: (order: Order) => order.id, body: ({ total }: Order) => ({ total }) })
  async place(): Promise<Order> {
    return { id: '1', total: 1 };
  }

  @Outbox('order.placed', { key: (order: Order) => order.id })
  async placeWhole(): Promise<Order> {
    return { id: '1', total: 1 };
  }

  @Outbox('order.placed')
  async placePlainly(): Promise<Order> {
    return { id: '1', total: 1 };
  }

  @Outbox('order.gone', { body: () => ({ gone: true }) })
  async remove(): Promise<void> {}

  // @ts-expect-error the key is made of an order, and the method gives a number
  @Outbox('order.placed', { key: (order: Order) => order.id })
  async count(): Promise<number> {
    return 1;
  }

  // @ts-expect-error the body is made of an order, and the method gives a string
  @Outbox('order.placed', { body: ({ total }: Order) => total })
  async name(): Promise<string> {
    return '';
  }

  // @ts-expect-error a method without a result needs a body
  @Outbox('order.gone')
  async nothing(): Promise<void> {}

  // @ts-expect-error a method that may give undefined needs a body
  @Outbox('order.found')
  async perhaps(): Promise<Order | undefined> {
    return undefined;
  }

  // @ts-expect-error the method must be able to wait for the insert
  @Outbox('order.placed')
  placeAtOnce(): Order {
    return { id: '1', total: 1 };
  }

  // @ts-expect-error a key is text
  @Outbox('order.placed', { key: (order: Order) => order.total })
  async placeByNumber(): Promise<Order> {
    return { id: '1', total: 1 };
  }

  @OnMessage('order.placed', { consumer: 'points' })
  async onPlaced(_order: Order, _message: Message): Promise<void> {}

  @OnMessage('order.placed', { consumer: 'stock', backoff: { first: '2s' } })
  async onPlacedToo(): Promise<string> {
    return '';
  }

  // @ts-expect-error a handler must be able to wait
  @OnMessage('order.placed', { consumer: 'sync' })
  onPlacedAtOnce(_order: Order): void {}

  // @ts-expect-error the second argument is the message
  @OnMessage('order.placed', { consumer: 'wrong' })
  async onPlacedWrongly(_order: Order, _message: number): Promise<void> {}

  // @ts-expect-error a consumer has a name
  @OnMessage('order.placed', {})
  async onPlacedBySomebody(_order: Order): Promise<void> {}

  @OnMessage('order.placed', { consumer: 'ledger', batch: true })
  async onPlacedTogether(_orders: readonly Order[], _messages: readonly Message[]): Promise<void> {}

  @OnMessage('order.placed', { consumer: 'prices', batch: true, batchSize: 50 })
  async onPlacedTogetherToo(orders: Order[]): Promise<number[]> {
    return orders.map(({ total }) => total);
  }

  @OnMessage('order.placed', { consumer: 'counter', batch: true })
  async onSomePlaced(): Promise<undefined> {
    return undefined;
  }

  // @ts-expect-error a handler of batches is given a list of bodies
  @OnMessage('order.placed', { consumer: 'one', batch: true })
  async onPlacedOne(_order: Order, _messages: readonly Message[]): Promise<void> {}

  // @ts-expect-error and a list of messages
  @OnMessage('order.placed', { consumer: 'two', batch: true })
  async onPlacedTwo(_orders: readonly Order[], _message: Message): Promise<void> {}

  // @ts-expect-error and gives a list of results
  @OnMessage('order.placed', { consumer: 'three', batch: true })
  async onPlacedThree(_orders: readonly Order[]): Promise<number> {
    return 1;
  }

  // @ts-expect-error a list of messages is given to batches alone
  @OnMessage('order.placed', { consumer: 'four' })
  async onPlacedFour(_order: Order, _messages: readonly Message[]): Promise<void> {}
}
