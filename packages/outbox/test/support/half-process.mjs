// Takes payments for crash tests: in its own transaction, in one of another library, or at a bank; told by MODE.
import 'reflect-metadata';
import { checkpoint, Incidents, LockstepModule } from '@lockstep/core';
import { OnMessage, OutboxModule, TransactionalMessage, TransactionalMessages } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver, pgTransaction } from '@lockstep/sql/postgres';
import { Inject, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import pg from 'pg';

const { DATABASE_URL: url, MODE = 'own', PAYMENTS = '0', FIRST = '1' } = process.env;
const times = { checkAfter: 100, checkEvery: 100, checks: 100, maxTransactionAge: 600 };
const INSERT = 'INSERT INTO payment (id) VALUES ($1)';
/** Somebody else's system: what it does is committed at once. */
const bank = new pg.Pool({ connectionString: url, max: 2 });

class Payments {
  constructor(sql) {
    this.sql = sql;
  }

  async payHere({ payment }) {
    await this.sql.requireCurrent('pay').execute(INSERT, [payment]);
    if (payment % 4 === 0) throw new Error('refused');
  }

  async payAtBank({ payment }) {
    if (payment % 4 === 0) throw new Error('refused');
    await bank.query(INSERT, [payment]);
    checkpoint('bank.charged');
  }

  async wasPaidAtBank(_id, { payment }) {
    const { rowCount } = await bank.query('SELECT 1 FROM payment WHERE id = $1', [payment]);
    return rowCount > 0 ? 'commit' : 'rollback';
  }
}
Inject(Sql)(Payments, undefined, 0);

class Points {
  constructor(sql) {
    this.sql = sql;
  }

  async grant({ payment }) {
    await this.sql.requireCurrent('points').execute('INSERT INTO points (payment) VALUES ($1)', [payment]);
  }
}
Inject(Sql)(Points, undefined, 0);

function decorate(type, method, decorator) {
  const descriptor = Object.getOwnPropertyDescriptor(type.prototype, method);
  decorator(type.prototype, method, descriptor);
  Object.defineProperty(type.prototype, method, descriptor);
}
decorate(Payments, 'payHere', TransactionalMessage('paid', times));
decorate(Payments, 'payAtBank', TransactionalMessage('paid', { ...times, check: 'wasPaidAtBank' }));
decorate(Points, 'grant', OnMessage('paid', { consumer: 'points', backoff: { first: 20, atMost: 100 } }));

/** Listens before anything starts. */
class IncidentLog {
  constructor(incidents) {
    incidents.subscribe(({ code }) => console.log(`incident ${code}`));
  }
}
Inject(Incidents)(IncidentLog, undefined, 0);

class Shop {}
Module({
  imports: [
    LockstepModule.forRoot({}),
    SqlModule.forRoot({ driver: pgDriver({ url }) }),
    OutboxModule.forRoot({
      store: postgresOutboxStore(),
      origin: 'shop',
      shards: 1,
      sweepEvery: 50,
      leaseTtl: 600,
      redeliverAfter: 300,
      redeliverAtMost: 600,
    }),
  ],
  providers: [IncidentLog, Payments, Points],
})(Shop);

const app = await NestFactory.createApplicationContext(Shop, { logger: false });
console.log('ready');
for (let payment = Number(FIRST); payment < Number(FIRST) + Number(PAYMENTS); payment += 1) {
  await pay(payment).catch((error) => {
    if (error.message !== 'refused') throw error;
  });
}
console.log('paid');
setInterval(() => undefined, 60_000);

function pay(payment) {
  if (MODE === 'own') return app.get(Payments).payHere({ payment });
  if (MODE === 'bank') return app.get(Payments).payAtBank({ payment });
  return app
    .get(TransactionalMessages)
    .run({ topic: 'paid', body: { payment }, ...times }, (half) => payAbroad(half, payment));
}

/** In a transaction that another library begins and ends. */
async function payAbroad(half, payment) {
  const client = await bank.connect();
  try {
    await client.query('BEGIN');
    await half.join(pgTransaction(client));
    await client.query(INSERT, [payment]);
    checkpoint('bank.charged');
    if (payment % 4 === 0) throw new Error('refused');
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}
