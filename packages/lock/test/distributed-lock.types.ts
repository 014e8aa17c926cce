import { DistributedLock, Lease } from '@lockstep/lock';
import { type Observable, of } from 'rxjs';

interface PlaceOrder {
  readonly sku: string;
}

export class Orders {
  @DistributedLock({ key: (order: PlaceOrder) => `sku:${order.sku}`, ttl: '5s', wait: 0 })
  async place(_order: PlaceOrder, _note: string): Promise<void> {}

  @DistributedLock({ key: () => 'settlement' })
  async settle(): Promise<number> {
    return 1;
  }

  // @ts-expect-error the key wants a number, the method gets an order
  @DistributedLock({ key: (id: number) => `sku:${id}` })
  async wrongParameter(_order: PlaceOrder): Promise<void> {}

  // @ts-expect-error a key must be a string
  @DistributedLock({ key: (order: PlaceOrder) => order })
  async wrongKey(_order: PlaceOrder): Promise<void> {}

  // @ts-expect-error a method that returns at once cannot wait for a lock
  @DistributedLock({ key: (order: PlaceOrder) => order.sku })
  synchronous(_order: PlaceOrder): number {
    return 1;
  }

  // @ts-expect-error a ttl is a duration
  @DistributedLock({ key: () => 'a', ttl: 'soon' })
  async wrongTtl(): Promise<void> {}
}

export class Streams {
  @DistributedLock({ key: (sku: string) => `sku:${sku}` })
  watch(_sku: string): Observable<number> {
    return of(1);
  }

  @DistributedLock({ key: (sku: string) => `sku:${sku}`, returns: 'observable' })
  inferred(_sku: string) {
    return of(1);
  }

  @DistributedLock({ key: (sku: string) => `sku:${sku}` })
  async *pages(_sku: string): AsyncGenerator<number, string, boolean> {
    return (yield 1) ? 'more' : 'end';
  }

  // @ts-expect-error a promise is no Observable
  @DistributedLock({ key: () => 'a', returns: 'observable' })
  async promise(): Promise<void> {}

  // @ts-expect-error nor is a generator
  @DistributedLock({ key: () => 'a', returns: 'observable' })
  async *generator(): AsyncGenerator<number> {}

  // @ts-expect-error a generator that does not wait cannot wait for a lock
  @DistributedLock({ key: () => 'a' })
  *synchronous(): Generator<number> {}

  // @ts-expect-error the key wants a number
  @DistributedLock({ key: (id: number) => `sku:${id}` })
  wrongParameter(_sku: string): Observable<number> {
    return of(1);
  }
}

export class Leases {
  @DistributedLock({ key: (sku: string) => `sku:${sku}` })
  async last(_sku: string, @Lease() lease: Lease): Promise<bigint> {
    return lease.fence;
  }

  @DistributedLock({ key: (_lease: Lease | undefined, sku: string) => `sku:${sku}` })
  async first(@Lease() _lease: Lease | undefined, _sku: string): Promise<void> {}

  // @ts-expect-error the second argument is the lease
  @DistributedLock({ key: (_sku: string, note: string) => note })
  async wrongKey(_sku: string, @Lease() _lease: Lease): Promise<void> {}
}

/** The name is that of the type too. */
export async function write(lease: Lease): Promise<void> {
  lease.assertHeld();
}
