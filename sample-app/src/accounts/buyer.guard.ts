import { RequestContext } from '@lockstep/core';
import { type CanActivate, type ExecutionContext, Injectable, UnauthorizedException } from '@nestjs/common';

const BUYER = /^[a-z0-9-]{1,64}$/;

/**
 * Knows the buyer by his session, else by a header, as a gateway in front would set it for clients of its own (and take
 * off all others), and makes him the principal of the request.
 */
@Injectable()
export class BuyerGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const current = RequestContext.current();
    // Of who is logged in. A header cannot make him somebody else.
    if (current?.principal) return true;
    const request = context.switchToHttp().getRequest<{ headers: Record<string, string | string[] | undefined> }>();
    const buyer = request.headers['x-buyer'];
    if (typeof buyer !== 'string' || !BUYER.test(buyer) || !current) throw new UnauthorizedException('Who is buying?');
    current.principal = { id: buyer };
    return true;
  }
}
