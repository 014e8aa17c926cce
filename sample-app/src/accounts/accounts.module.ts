import { Module } from '@nestjs/common';
import { CartModule } from '../cart/cart.module.js';
import { BuyerGuard } from './buyer.guard.js';
import { CustomersService } from './customers.service.js';
import { LoginController } from './login.controller.js';
import { MeController } from './me.controller.js';
import { PreferencesController } from './preferences.controller.js';

@Module({
  imports: [CartModule],
  controllers: [LoginController, MeController, PreferencesController],
  providers: [BuyerGuard, CustomersService],
  exports: [BuyerGuard],
})
export class AccountsModule {}
