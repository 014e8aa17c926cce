// One process of a crash test: takes a lock when told, says what it knows. Plain JavaScript, as a child needs no build.
import 'reflect-metadata';
import { LockModule, LockService } from '@lockstep/lock';
import { postgresLockStore } from '@lockstep/lock/postgres';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { answerAsHolder } from './answer-as-holder.mjs';

const url = process.env.POSTGRES_URL;
class AppModule {}
Module({
  imports: [
    SqlModule.forRoot({ driver: pgDriver({ url }), commandTimeout: '5s' }),
    LockModule.forRoot({ store: postgresLockStore({ url, commandTimeout: '5s' }), ttl: '2s' }),
  ],
})(AppModule);

const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
answerAsHolder(app.get(LockService));
