import { Idempotent, type ResultCodec } from '@lockstep/idempotency';
import { type Observable, of } from 'rxjs';

interface Order {
  readonly id: string;
  readonly sku: string;
}

interface Receipt {
  readonly number: number;
  readonly lines: readonly { readonly sku: string; readonly note?: string }[];
  readonly parent?: Receipt;
}

interface Shipment {
  readonly due: Date;
}

class Account {
  balance = 0;

  deposit(amount: number): void {
    this.balance += amount;
  }
}

class PlainAccount {
  private secret = 'none';
  balance = this.secret.length;
}

const shipments: ResultCodec<Shipment> = {
  encode: ({ due }) => due.toISOString(),
  decode: (text) => ({ due: new Date(text) }),
};

export class Accepted {
  @Idempotent({ key: (order: Order) => order.id })
  async place(_order: Order, _note?: string): Promise<Receipt> {
    return { number: 1, lines: [] };
  }

  @Idempotent({ key: (order: Order) => order.id, scope: (order: Order) => order.sku })
  async scoped(_order: Order): Promise<void> {}

  @Idempotent({
    key: (id: string) => id,
    scope: 'global',
    payload: (id: string, amount: number) => [id, amount],
    operation: 'payments.charge',
    onLeaseExpiry: 'retry',
    onConcurrent: { wait: '1s' },
    onStoreDown: 'bypass',
    onError: () => 'release',
    retention: '7d',
  })
  async all(_id: string, _amount: number): Promise<string | undefined> {
    return undefined;
  }

  @Idempotent({ key: (id: string) => id, mode: 'transactional', isolation: 'serializable' })
  async paid(_id: string): Promise<{ readonly total: number }> {
    return { total: 1 };
  }

  @Idempotent({ key: (id: string) => id, mode: 'transactional', codec: shipments })
  async shipInTransaction(_id: string): Promise<Shipment> {
    return { due: new Date(0) };
  }

  @Idempotent({ key: () => 'nightly' })
  async anything(): Promise<unknown> {
    return 1;
  }

  @Idempotent({ key: () => 'nightly' })
  async instance(): Promise<PlainAccount> {
    return new PlainAccount();
  }

  @Idempotent({ key: () => 'nightly' })
  async record(): Promise<Record<string, unknown>> {
    return {};
  }

  @Idempotent({ key: (id: string) => id, codec: shipments })
  async ship(_id: string): Promise<Shipment> {
    return { due: new Date(0) };
  }

  @Idempotent({ key: (id: string) => id, scope: (id: string) => id, codec: shipments })
  async shipScoped(_id: string): Promise<Shipment> {
    return { due: new Date(0) };
  }
}

export abstract class Generic<Result> {
  @Idempotent({ key: (id: string) => id, codec: { encode: JSON.stringify, decode: JSON.parse } })
  async place(_id: string): Promise<Result> {
    return this.work();
  }

  protected abstract work(): Promise<Result>;
}

export class RefusedArguments {
  // @ts-expect-error the key wants a number, the method gets an order
  @Idempotent({ key: (id: number) => String(id) })
  async wrongParameter(_order: Order): Promise<void> {}

  // @ts-expect-error a key is a string
  @Idempotent({ key: (order: Order) => order })
  async wrongKey(_order: Order): Promise<void> {}

  // @ts-expect-error the scope wants a second argument that the method does not get
  @Idempotent({ key: (order: Order) => order.id, scope: (_order: Order, user: string) => user })
  async wrongScope(_order: Order): Promise<void> {}

  // @ts-expect-error a scope is a function, or 'global' on purpose
  @Idempotent({ key: (order: Order) => order.id, scope: 'tenant' })
  async namedScope(_order: Order): Promise<void> {}

  // @ts-expect-error the payload wants a number
  @Idempotent({ key: (order: Order) => order.id, payload: (id: number) => id })
  async wrongPayload(_order: Order): Promise<void> {}

  // @ts-expect-error a header that is required and a key in the arguments exclude one another
  @Idempotent({ key: (order: Order) => order.id, required: true })
  async required(_order: Order): Promise<void> {}
}

export class RefusedResults {
  // @ts-expect-error a date comes back as a string
  @Idempotent({ key: () => 'a' })
  async date(): Promise<Shipment> {
    return { due: new Date(0) };
  }

  // @ts-expect-error a date comes back as a string, also from a transaction
  @Idempotent({ key: () => 'a', mode: 'transactional' })
  async dateOfTransaction(): Promise<Shipment> {
    return { due: new Date(0) };
  }

  // @ts-expect-error a map comes back empty
  @Idempotent({ key: () => 'a' })
  async map(): Promise<Map<string, number>> {
    return new Map();
  }

  // @ts-expect-error JSON knows no bigint
  @Idempotent({ key: () => 'a' })
  async bigint(): Promise<{ readonly rows: readonly bigint[] }> {
    return { rows: [] };
  }

  // @ts-expect-error an object with methods comes back without them
  @Idempotent({ key: () => 'a' })
  async methods(): Promise<Account> {
    return new Account();
  }

  // @ts-expect-error bytes come back as an object of numbers
  @Idempotent({ key: () => 'a' })
  async bytes(): Promise<Uint8Array | undefined> {
    return undefined;
  }

  // @ts-expect-error an item that is missing comes back as null
  @Idempotent({ key: () => 'a' })
  async holes(): Promise<{ readonly rows: readonly (string | undefined)[] }> {
    return { rows: [undefined] };
  }

  // @ts-expect-error the codec is for another result
  @Idempotent({ key: () => 'a', codec: shipments })
  async codec(): Promise<{ readonly due: string }> {
    return { due: '' };
  }
}

export class RefusedForms {
  // @ts-expect-error a plain synchronous method would have to change its result type
  @Idempotent({ key: () => 'a' })
  synchronous(): number {
    return 1;
  }

  // @ts-expect-error the values of a stream come after the operation has ended
  @Idempotent({ key: () => 'a' })
  observable(): Observable<number> {
    return of(1);
  }

  // @ts-expect-error and so do those of a generator
  @Idempotent({ key: () => 'a' })
  async *generator(): AsyncGenerator<number> {}

  // @ts-expect-error a mode that does not exist
  @Idempotent({ key: () => 'a', mode: 'both' })
  async mode(): Promise<void> {}

  // @ts-expect-error an isolation that does not exist
  @Idempotent({ key: () => 'a', mode: 'transactional', isolation: 'snapshot' })
  async isolation(): Promise<void> {}

  // @ts-expect-error a policy that does not exist
  @Idempotent({ key: () => 'a', onLeaseExpiry: 'never' })
  async policy(): Promise<void> {}
}
