import { createHash, timingSafeEqual } from 'node:crypto';
import { type CanActivate, type ExecutionContext, UnauthorizedException } from '@nestjs/common';

/** Lets in whoever has the token, and tells everybody else the refusal. */
export abstract class BearerGuard implements CanActivate {
  private readonly expected: Buffer;

  constructor(
    token: string,
    private readonly refusal: string,
  ) {
    this.expected = digest(`Bearer ${token}`);
  }

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<{ headers: { authorization?: string } }>();
    if (timingSafeEqual(digest(request.headers.authorization ?? ''), this.expected)) return true;
    throw new UnauthorizedException(this.refusal);
  }
}

// Digests have one length, which timingSafeEqual needs.
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
