// One process of a crash test: takes a lock when told, says what it knows. Plain JavaScript, as a child needs no build.
import 'reflect-metadata';
import { LockModule, LockService } from '@lockstep/lock';
import { postgresLockStore } from '@lockstep/lock/postgres';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const url = process.env.POSTGRES_URL;
class AppModule {}
Module({
  imports: [
    SqlModule.forRoot({ driver: pgDriver({ url }), commandTimeout: '5s' }),
    LockModule.forRoot({ store: postgresLockStore({ url, commandTimeout: '5s' }), ttl: '2s' }),
  ],
})(AppModule);

const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
const locks = app.get(LockService);
let lease;

async function answer({ ask, key }) {
  if (ask === 'acquire') {
    lease = await locks.acquire(key);
    process.send({ acquired: lease.fence.toString() });
  }
  if (ask === 'state') process.send({ held: lease.isHeld(), aborted: lease.signal.aborted });
  if (ask === 'release') {
    await lease.release();
    process.send({ released: true });
  }
}

process.on('message', (question) => void answer(question));
process.send({ ready: true });
