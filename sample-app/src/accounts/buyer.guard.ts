import { RequestContext } from '@lockstep/core';
import { type CanActivate, type ExecutionContext, Injectable, UnauthorizedException } from '@nestjs/common';

const BUYER = /^[a-z0-9-]{1,64}$/;

/** Knows the buyer by a header, as a gateway in front would set it, and makes him the principal of the request. */
@Injectable()
export class BuyerGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<{ headers: Record<string, string | string[] | undefined> }>();
    const buyer = request.headers['x-buyer'];
    const current = RequestContext.current();
    if (typeof buyer !== 'string' || !BUYER.test(buyer) || !current) throw new UnauthorizedException('Who is buying?');
    current.principal = { id: buyer };
    return true;
  }
}
