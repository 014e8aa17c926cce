import { type CheckAnswer, type FailureNotice, TransactionalMessage } from '@lockstep/outbox';

interface Order {
  readonly id: string;
  readonly total: number;
}

export class Decorated {
  @TransactionalMessage('paid', { key: (order: Order) => order.id, check: 'wasPaid', compensate: 'refund' })
  async pay(_order: Order): Promise<void> {}

  @TransactionalMessage('paid', { body: (id: string, total: number) => ({ id, total }), check: 'wasPaid' })
  async payById(_id: string, _total: number): Promise<string> {
    return '';
  }

  @TransactionalMessage('paid')
  async payPlainly(_order: Order, _shop: string): Promise<void> {}

  @TransactionalMessage('cleared', { body: () => ({ all: true }) })
  async clear(): Promise<void> {}

  // @ts-expect-error the key is made of an order, and the method is given a number
  @TransactionalMessage('paid', { key: (order: Order) => order.id })
  async payNumber(_order: number): Promise<void> {}

  // @ts-expect-error a key is text
  @TransactionalMessage('paid', { key: (order: Order) => order.total })
  async payByNumber(_order: Order): Promise<void> {}

  // @ts-expect-error the body is made of an order, and the method is given a string
  @TransactionalMessage('paid', { body: (order: Order) => order.total })
  async payText(_order: string): Promise<void> {}

  // @ts-expect-error a method without arguments needs a body
  @TransactionalMessage('cleared')
  async clearPlainly(): Promise<void> {}

  // @ts-expect-error a method whose argument may be missing needs a body
  @TransactionalMessage('cleared')
  async clearPerhaps(_order?: Order): Promise<void> {}

  // @ts-expect-error the method must be able to wait
  @TransactionalMessage('paid')
  payAtOnce(_order: Order): void {}

  // @ts-expect-error the class has no such method
  @TransactionalMessage('paid', { check: 'wasSold' })
  async payUnchecked(_order: Order): Promise<void> {}

  // @ts-expect-error the check is given an order, and the body is a number
  @TransactionalMessage('paid', { body: (order: Order) => order.total, check: 'wasPaid' })
  async payTotal(_order: Order): Promise<void> {}

  // @ts-expect-error a check has three answers
  @TransactionalMessage('paid', { check: 'isPaid' })
  async payOrNot(_order: Order): Promise<void> {}

  // @ts-expect-error the second argument of a compensator is the notice
  @TransactionalMessage('paid', { compensate: 'undo' })
  async payInVain(_order: Order): Promise<void> {}

  async wasPaid(_id: string, _order: Order): Promise<CheckAnswer> {
    return 'unknown';
  }

  async isPaid(_id: string, _order: Order): Promise<boolean> {
    return true;
  }

  async refund(_order: Order, _notice: FailureNotice): Promise<void> {}

  async undo(_order: Order, _why: number): Promise<void> {}
}
