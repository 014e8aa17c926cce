// One process of a crash test: a route in one transaction on a real database. Plain JavaScript, as a child needs no build.
import 'reflect-metadata';
import { checkpoint } from '@lockstep/core';
import { IdempotencyModule, Idempotent } from '@lockstep/idempotency';
import { sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { Controller, Inject, Module, Param, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

class BookingsController {
  constructor(sql) {
    this.sql = sql;
  }

  async book(name) {
    await this.sql.requireCurrent('booking').execute('INSERT INTO booking VALUES ($1)', [name]);
    checkpoint('handler');
    return { pid: process.pid };
  }
}
const book = Object.getOwnPropertyDescriptor(BookingsController.prototype, 'book');
Idempotent({ mode: 'transactional' })(BookingsController.prototype, 'book', book);
Post(':name')(BookingsController.prototype, 'book', book);
Object.defineProperty(BookingsController.prototype, 'book', book);
Param('name')(BookingsController.prototype, 'book', 0);
Inject(Sql)(BookingsController, undefined, 0);
Controller('bookings')(BookingsController);

class AppModule {}
Module({
  controllers: [BookingsController],
  imports: [
    SqlModule.forRoot({ driver: pgDriver({ url: process.env.DATABASE_URL }) }),
    IdempotencyModule.forRoot({
      store: sqlIdempotencyStore(),
      scope: 'global',
      secret: 'a secret that only the tests know',
      onConcurrent: { wait: '10s' },
    }),
  ],
})(AppModule);

const app = await NestFactory.create(AppModule, { logger: false });
await app.listen(0, '127.0.0.1');
process.send({ url: await app.getUrl() });
