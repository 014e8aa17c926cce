import { DistributedLock } from '@lockstep/lock';

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
