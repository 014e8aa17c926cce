import {
  IdempotencyModule,
  IdempotencyToken,
  type IdempotencyTokens,
  IssueIdempotencyToken,
} from '@lockstep/idempotency';
import { EMPTY, type Observable } from 'rxjs';

export class Accepted {
  @IssueIdempotencyToken('order', { ttl: '10m', deliver: 'body.orderToken' })
  page(): { readonly cart: number } {
    return { cart: 1 };
  }

  @IssueIdempotencyToken('order', { deliver: 'body.orderToken' })
  async later(): Promise<{ readonly cart: number }> {
    return { cart: 1 };
  }

  @IssueIdempotencyToken('order')
  text(): string {
    return 'a header takes it along with any answer';
  }

  @IdempotencyToken('order', { from: 'header:X-Token', retention: '7d', onLeaseExpiry: 'retry' })
  async submit(_dto: { readonly qty: number }): Promise<void> {}

  @IdempotencyToken('order', { from: 'body.orderToken' })
  streamed(): Observable<number> {
    return EMPTY;
  }
}

export class Refused {
  // @ts-expect-error text has no field that could take the token along
  @IssueIdempotencyToken('order', { deliver: 'body.orderToken' })
  async text(): Promise<string> {
    return 'text';
  }

  // @ts-expect-error a cookie would be sent by itself, which is no proof that the page was seen
  @IdempotencyToken('order', { from: 'cookie:token' })
  async cookie(): Promise<void> {}

  // @ts-expect-error without a record nothing could be kept while the store is down
  @IdempotencyToken('order', { onStoreDown: 'bypass' })
  async bypass(): Promise<void> {}

  // @ts-expect-error a plain synchronous method would have to change its result type
  @IdempotencyToken('order')
  synchronous(): number {
    return 1;
  }
}

IdempotencyModule.forRoot({
  scope: 'global',
  secret: 'x'.repeat(32),
  tokens: { mode: 'stateless', ttl: '1h', purposes: { pay: { mode: 'stored' } } },
});

// @ts-expect-error a mode that does not exist
IdempotencyModule.forRoot({ scope: 'global', secret: 'x'.repeat(32), tokens: { mode: 'cookie' } });

export async function used(tokens: IdempotencyTokens): Promise<number> {
  const whose = { purpose: 'order', scope: 'ann' };
  return tokens.run({ ...whose, token: await tokens.issue(whose, { ttl: '10m' }), payload: null }, async () => 1);
}
