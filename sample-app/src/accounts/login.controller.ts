import { CurrentSession, type SessionRef } from '@lockstep/session';
import { Body, Controller, HttpCode, Inject, Post, UnauthorizedException } from '@nestjs/common';
import { CartService } from '../cart/cart.service.js';
import type { Credentials, Customer } from './customer.js';
import { CredentialsPipe } from './customer.pipe.js';
import { CustomersService } from './customers.service.js';

@Controller()
export class LoginController {
  constructor(
    @Inject(CustomersService) private readonly customers: CustomersService,
    @Inject(CartService) private readonly carts: CartService,
  ) {}

  @Post('customers')
  signUp(@Body(CredentialsPipe) credentials: Credentials): Promise<Customer> {
    return this.customers.signUp(credentials);
  }

  /** The visitor's cart comes along; what a session has of somebody else does not. */
  @Post('login')
  @HttpCode(200)
  async login(
    @CurrentSession() session: SessionRef,
    @Body(CredentialsPipe) credentials: Credentials,
  ): Promise<Customer> {
    const customer = await this.customers.authenticate(credentials);
    if (!customer) {
      throw new UnauthorizedException({ code: 'CREDENTIALS_WRONG', message: 'Name or password is wrong' });
    }
    const isOfAnother = session.principal !== undefined && session.principal.id !== customer.id;
    const isMerged = !isOfAnother && (await this.carts.mergeIfPossible(session, customer.id));
    await session.login({ id: customer.id }, { amr: ['pwd'], keepAttributes: !isOfAnother });
    if (isMerged) this.carts.forget(session);
    return customer;
  }

  /** Where there is no session it is as good. */
  @Post('logout')
  @HttpCode(200)
  async logout(@CurrentSession() session: SessionRef): Promise<{ readonly loggedOut: true }> {
    await session.logout();
    return { loggedOut: true };
  }
}
