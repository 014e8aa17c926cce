import { BestEffortNotify, WebhookReceiver } from '@lockstep/outbox/notifications';

interface Order {
  readonly id: string;
  readonly partner: string | undefined;
}

export class Notifying {
  @BestEffortNotify({ endpoint: 'shop', type: 'order.shipped' })
  async ship(): Promise<Order> {
    return { id: '1', partner: 'shop' };
  }

  @BestEffortNotify({
    endpoint: (order: Order) => order.partner,
    type: 'order.shipped',
    body: ({ id }: Order) => ({ id }),
    id: ({ id }: Order) => id,
  })
  async shipToPartner(): Promise<Order> {
    return { id: '1', partner: 'shop' };
  }

  @BestEffortNotify({ url: 'https://shop.example/', type: 'order.gone', body: () => ({ gone: true }) })
  async remove(): Promise<void> {}

  // @ts-expect-error the endpoint is made of an order, and the method gives a number
  @BestEffortNotify({ endpoint: (order: Order) => order.partner, type: 'order.counted' })
  async count(): Promise<number> {
    return 1;
  }

  // @ts-expect-error a method without a result says nothing without a body
  @BestEffortNotify({ endpoint: 'shop', type: 'order.gone' })
  async forget(): Promise<void> {}

  // @ts-expect-error a plain synchronous method cannot wait for the insert
  @BestEffortNotify({ endpoint: 'shop', type: 'order.shipped' })
  now(): Order {
    return { id: '1', partner: 'shop' };
  }

  // @ts-expect-error it goes to an endpoint or to a url
  @BestEffortNotify({ endpoint: 'shop', url: 'https://shop.example/', type: 'order.shipped' })
  async twice(): Promise<Order> {
    return { id: '1', partner: 'shop' };
  }
}

interface MyRequest {
  readonly params: { readonly tenant: string };
}

export class Receiving {
  @WebhookReceiver({ name: 'shop', secrets: ['whsec_…'] })
  async shop(): Promise<void> {}

  @WebhookReceiver({ name: 'maybe', secrets: ['whsec_…'] })
  async maybe(): Promise<Order | undefined> {
    return undefined;
  }

  @WebhookReceiver({ name: 'mine', secretsOf: ({ params }: MyRequest) => ({ sender: params.tenant, secrets: [] }) })
  async mine(): Promise<void> {}

  // @ts-expect-error a copy has no result
  @WebhookReceiver({ name: 'always', secrets: ['whsec_…'] })
  async always(): Promise<Order> {
    return { id: '1', partner: undefined };
  }

  // @ts-expect-error a plain synchronous method cannot wait for the commit
  @WebhookReceiver({ name: 'now', secrets: ['whsec_…'] })
  now(): void {}

  // @ts-expect-error secrets, or a way to find them
  @WebhookReceiver({ name: 'none' })
  async none(): Promise<void> {}
}
