import { type CanActivate, Inject, Injectable } from '@nestjs/common';
import { MallSchema } from './mall.schema.js';

/** Nothing runs before the mall's tables exist; while the database is down this answers for everybody with a 503. */
@Injectable()
export class SchemaReadyGuard implements CanActivate {
  constructor(@Inject(MallSchema) private readonly schema: MallSchema) {}

  async canActivate(): Promise<boolean> {
    await this.schema.ready();
    return true;
  }
}
