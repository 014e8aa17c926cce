import { CurrentSession, RequireSession, type SessionInfo, type SessionRef, SessionService } from '@lockstep/session';
import { Controller, Delete, Get, Inject, NotFoundException, Param } from '@nestjs/common';
import { Buyer } from './buyer.decorator.js';
import type { Customer } from './customer.js';
import { HandlePipe } from './customer.pipe.js';
import { CustomersService } from './customers.service.js';

interface Me extends Customer {
  readonly loggedInAt: Date | undefined;
  readonly amr: readonly string[];
}

/** For who is logged in; a client of the gateway has no devices. */
@Controller('me')
@RequireSession()
export class MeController {
  constructor(
    @Inject(CustomersService) private readonly customers: CustomersService,
    @Inject(SessionService) private readonly sessions: SessionService,
  ) {}

  @Get()
  async me(@CurrentSession() { loggedInAt, amr }: SessionRef, @Buyer() id: string): Promise<Me> {
    const customer = await this.customers.find(id);
    if (!customer) throw new NotFoundException('There is no such customer any more');
    return { ...customer, loggedInAt, amr };
  }

  /** Where he is logged in. */
  @Get('devices')
  devices(@Buyer() id: string): Promise<readonly SessionInfo[]> {
    return this.sessions.list({ id });
  }

  /** All but this one. */
  @Delete('devices')
  async revokeOthers(
    @CurrentSession() session: SessionRef,
    @Buyer() id: string,
  ): Promise<{ readonly revoked: number }> {
    return { revoked: await this.sessions.revokeAll({ id }, { except: session }) };
  }

  @Delete('devices/:handle')
  async revoke(
    @Buyer() id: string,
    @Param('handle', HandlePipe) handle: string,
  ): Promise<{ readonly revoked: number }> {
    if (await this.sessions.revoke({ id }, handle)) return { revoked: 1 };
    throw new NotFoundException('You have no such device');
  }
}
