import { createHash, timingSafeEqual } from 'node:crypto';
import { type CanActivate, type ExecutionContext, Inject, Injectable, UnauthorizedException } from '@nestjs/common';

export const WAREHOUSE_TOKEN = Symbol('mall:WAREHOUSE_TOKEN');

/** Lets the warehouse in by its bearer token. */
@Injectable()
export class WarehouseGuard implements CanActivate {
  private readonly expected: Buffer;

  constructor(@Inject(WAREHOUSE_TOKEN) token: string) {
    this.expected = digest(`Bearer ${token}`);
  }

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<{ headers: { authorization?: string } }>();
    if (timingSafeEqual(digest(request.headers.authorization ?? ''), this.expected)) return true;
    throw new UnauthorizedException('Only the warehouse may restock');
  }
}

// Digests have one length, which timingSafeEqual needs.
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
