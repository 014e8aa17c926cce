import { IdempotencyModule, Idempotent, principalScope } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import type { Observable } from 'rxjs';

export class Accepted {
  @Idempotent()
  async promise(_dto: { readonly sku: string }): Promise<{ readonly id: number }> {
    return { id: 1 };
  }

  @Idempotent({ required: false, onLeaseExpiry: 'retry', retention: '7d' })
  async options(): Promise<void> {}
}

export abstract class Refused {
  // @ts-expect-error a plain synchronous method would have to change its result type
  @Idempotent()
  synchronous(): number {
    return 1;
  }

  // @ts-expect-error a policy that does not exist
  @Idempotent({ onLeaseExpiry: 'never' })
  async policy(): Promise<void> {}

  // @ts-expect-error a duration without a unit
  @Idempotent({ retention: '7' })
  async retention(): Promise<void> {}
}

export class Streams {
  constructor(private readonly source: Observable<number>) {}

  @Idempotent()
  observable(): Observable<number> {
    return this.source;
  }
}

IdempotencyModule.forRoot({ scope: principalScope(), secret: 'x'.repeat(32), store: redisIdempotencyStore() });
IdempotencyModule.forRootAsync({
  store: redisIdempotencyStore(),
  useFactory: () => ({ scope: 'global' as const, secret: 'x'.repeat(32) }),
});

// @ts-expect-error the scope must be chosen
IdempotencyModule.forRoot({ secret: 'x'.repeat(32) });

// @ts-expect-error the secret must be given
IdempotencyModule.forRoot({ scope: 'global' });
