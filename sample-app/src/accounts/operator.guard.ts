import { Inject, Injectable } from '@nestjs/common';
import { BearerGuard } from './bearer.guard.js';

export const OPERATOR_TOKEN = Symbol('mall:OPERATOR_TOKEN');

/** Lets the operators in by their bearer token. */
@Injectable()
export class OperatorGuard extends BearerGuard {
  constructor(@Inject(OPERATOR_TOKEN) token: string) {
    super(token, 'Only an operator may do that');
  }
}
