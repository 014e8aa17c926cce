import { type Observable, of } from 'rxjs';
import { Recorded } from './support/recorded.decorator.js';
import { Scoped } from './support/scoped.decorator.js';

// Checked by `tsc -p tsconfig.test.json` and never run: each unused @ts-expect-error is an error.

interface PlaceOrder {
  readonly sku: string;
  readonly quantity: number;
}

const bySku = (order: { readonly sku: string }) => order.sku;
const SYMBOL = Symbol('named by a symbol');

export class Fits {
  @Recorded()
  async withoutKey(_order: PlaceOrder): Promise<void> {}

  @Recorded({ key: (order: PlaceOrder, user: number) => `${order.sku}:${user}` })
  async allArguments(_order: PlaceOrder, _user: number): Promise<void> {}

  @Recorded({ key: (order: PlaceOrder) => order.sku })
  async fewerParameters(_order: PlaceOrder, _user: number): Promise<void> {}

  @Recorded({ key: () => 'one for all' })
  async noParameter(_order: PlaceOrder): Promise<void> {}

  @Recorded({ key: bySku })
  async widerParameter(_order: PlaceOrder): Promise<void> {}

  @Recorded({ key: (sku: string | undefined) => sku ?? 'none' })
  async optional(_sku?: string): Promise<void> {}

  @Recorded({ key: (...skus: string[]) => skus.join() })
  async rest(..._skus: string[]): Promise<void> {}

  @Recorded({ key: (first: string) => first })
  async tuple(..._pair: [string, number]): Promise<void> {}

  @Recorded({ key: bySku })
  async generic<T extends PlaceOrder>(order: T): Promise<T> {
    return order;
  }

  overloaded(sku: string): Promise<string>;
  overloaded(sku: number): Promise<number>;
  @Recorded({ key: (sku: string | number) => String(sku) })
  async overloaded(sku: string | number): Promise<string | number> {
    return sku;
  }

  @Recorded({ key: (sku: string) => sku })
  async [SYMBOL](_sku: string): Promise<void> {}

  @Recorded({ key: (sku: string) => sku })
  protected async hidden(_sku: string): Promise<void> {}

  @Recorded({ key: (sku: string) => sku })
  async withThis(this: Fits, _sku: string): Promise<void> {}

  @Recorded()
  @Recorded({ key: (sku: string) => sku })
  async twice(_sku: string): Promise<void> {}
}

export class DoesNotFit {
  // @ts-expect-error the method is called with an order, not with a number
  @Recorded({ key: (order: number) => String(order) })
  async otherType(_order: PlaceOrder): Promise<void> {}

  // @ts-expect-error the method has no second argument
  @Recorded({ key: (order: PlaceOrder, user: number) => `${order.sku}:${user}` })
  async moreParameters(_order: PlaceOrder): Promise<void> {}

  // @ts-expect-error the method's order has no customer
  @Recorded({ key: (order: PlaceOrder & { customer: string }) => order.customer })
  async missingField(_order: PlaceOrder): Promise<void> {}

  // @ts-expect-error the argument may be left out
  @Recorded({ key: (sku: string) => sku })
  async optional(_sku?: string): Promise<void> {}

  // @ts-expect-error a shorthand method is held to the same rule
  @Recorded({
    key(order: PlaceOrder & { customer: string }) {
      return order.customer;
    },
  })
  async shorthand(_order: PlaceOrder): Promise<void> {}

  // @ts-expect-error a result that is there at once cannot wait for a guarantee
  @Recorded()
  synchronous(_order: PlaceOrder): string {
    return '';
  }

  // @ts-expect-error the same with a key that fits
  @Recorded({ key: (order: PlaceOrder) => order.sku })
  synchronousWithKey(_order: PlaceOrder): void {}

  // @ts-expect-error a result that may be there at once
  @Recorded()
  sometimes(_sku: string): Promise<string> | string {
    return '';
  }

  // @ts-expect-error a generator is not one result
  @Recorded()
  async *stream(): AsyncGenerator<string> {}

  // @ts-expect-error the guarantee would be over before the first value
  @Recorded()
  observable(): Observable<string> {
    return of('');
  }

  // @ts-expect-error a field
  @Recorded()
  field = async (): Promise<void> => undefined;

  // @ts-expect-error a getter
  @Recorded()
  get getter(): string {
    return '';
  }
}

// @ts-expect-error a class
@Recorded()
export class NotAClass {}

export class FitsStreams {
  @Scoped()
  async promise(): Promise<void> {}

  @Scoped()
  observable(): Observable<string> {
    return of('');
  }

  @Scoped()
  inferred() {
    return of('');
  }

  @Scoped()
  async *generator(): AsyncGenerator<string, number, boolean> {
    return (yield '') ? 1 : 2;
  }
}

export class DoesNotFitStreams {
  // @ts-expect-error a result that is there at once cannot wait for a guarantee
  @Scoped()
  synchronous(): string {
    return '';
  }

  // @ts-expect-error nor can a generator that does not wait
  @Scoped()
  *generator(): Generator<string> {}

  // @ts-expect-error one form or the other
  @Scoped()
  either(): Promise<string> | Observable<string> {
    return of('');
  }
}
