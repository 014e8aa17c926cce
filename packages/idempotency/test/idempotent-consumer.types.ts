import { IdempotencyModule, IdempotentConsumer, principalScope } from '@lockstep/idempotency';
import { sqlInbox } from '@lockstep/idempotency/sql';
import { type Observable, of } from 'rxjs';

interface Paid {
  readonly messageId: string;
  readonly amount: number;
}

const id = (message: Paid): string => message.messageId;

export class Accepted {
  @IdempotentConsumer({ consumer: 'points', messageId: id, mode: 'transactional' })
  async points(_message: Paid): Promise<void> {}

  @IdempotentConsumer({ consumer: 'mail', messageId: id, mode: 'lease', onLeaseExpiry: 'retry', retention: '14d' })
  async mail(_message: Paid, _attempt: number): Promise<number | undefined> {
    return undefined;
  }

  @IdempotentConsumer({
    consumer: 'sum',
    messageId: id,
    mode: 'transactional',
    onDuplicate: (message: Paid) => message.amount,
  })
  async sum(_message: Paid): Promise<number> {
    return 1;
  }
}

export class Refused {
  // @ts-expect-error a duplicate returns undefined, which is no result of the method
  @IdempotentConsumer({ consumer: 'a', messageId: id, mode: 'lease' })
  async result(_message: Paid): Promise<number> {
    return 1;
  }

  // @ts-expect-error what a duplicate gets is no result of the method
  @IdempotentConsumer({ consumer: 'b', messageId: id, mode: 'lease', onDuplicate: () => 'again' })
  async duplicate(_message: Paid): Promise<number> {
    return 1;
  }

  // @ts-expect-error the id wants a message, the method gets a number
  @IdempotentConsumer({ consumer: 'c', messageId: id, mode: 'lease' })
  async parameter(_message: number): Promise<void> {}

  // @ts-expect-error onDuplicate wants a number, the method gets a message
  @IdempotentConsumer({ consumer: 'd', messageId: id, mode: 'lease', onDuplicate: (_amount: number) => undefined })
  async duplicateParameter(_message: Paid): Promise<void> {}

  // @ts-expect-error a transaction has no lease
  @IdempotentConsumer({ consumer: 'e', messageId: id, mode: 'transactional', onLeaseExpiry: 'retry' })
  async lease(_message: Paid): Promise<void> {}

  // @ts-expect-error a lease is no transaction that could be isolated
  @IdempotentConsumer({ consumer: 'h', messageId: id, mode: 'lease', isolation: 'serializable' })
  async isolation(_message: Paid): Promise<void> {}

  // @ts-expect-error the mode must be chosen
  @IdempotentConsumer({ consumer: 'f', messageId: id })
  async mode(_message: Paid): Promise<void> {}

  // @ts-expect-error the values of a stream come after the message was acknowledged
  @IdempotentConsumer({ consumer: 'g', messageId: id, mode: 'lease' })
  stream(_message: Paid): Observable<undefined> {
    return of(undefined);
  }
}

IdempotencyModule.forRoot({ scope: principalScope(), secret: 'x'.repeat(32), inbox: sqlInbox() });
