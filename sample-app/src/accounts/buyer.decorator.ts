import { RequestContext } from '@lockstep/core';
import { createParamDecorator, UnauthorizedException } from '@nestjs/common';

/** Parameter decorator: the id of the buyer whom `BuyerGuard` has let in. */
export const Buyer = createParamDecorator((): string => {
  const principal = RequestContext.current()?.principal;
  if (!principal) throw new UnauthorizedException('Who is buying?');
  return principal.id;
});
