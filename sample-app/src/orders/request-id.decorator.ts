import { currentIdempotency } from '@lockstep/idempotency';
import { createParamDecorator, InternalServerErrorException } from '@nestjs/common';

/**
 * Parameter decorator: what `@Idempotent` or `@IdempotencyToken` knows the request by. Not the header itself, which may
 * spell the same key in two ways.
 */
export const RequestId = createParamDecorator((): string => {
  const operation = currentIdempotency();
  if (!operation)
    throw new InternalServerErrorException('@RequestId belongs on a route with @Idempotent or @IdempotencyToken');
  return operation.id;
});
