import { Module } from '@nestjs/common';
import { AccountsModule } from '../accounts/accounts.module.js';
import { PointsController } from './points.controller.js';
import { PointsService } from './points.service.js';

@Module({ imports: [AccountsModule], controllers: [PointsController], providers: [PointsService] })
export class PointsModule {}
