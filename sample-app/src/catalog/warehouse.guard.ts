import { Inject, Injectable } from '@nestjs/common';
import { BearerGuard } from '../accounts/bearer.guard.js';

export const WAREHOUSE_TOKEN = Symbol('mall:WAREHOUSE_TOKEN');

/** Lets the warehouse in by its bearer token. */
@Injectable()
export class WarehouseGuard extends BearerGuard {
  constructor(@Inject(WAREHOUSE_TOKEN) token: string) {
    super(token, 'Only the warehouse may restock');
  }
}
