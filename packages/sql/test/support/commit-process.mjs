// Inserts one row in a transaction; the test kills it on one side of the commit or the other.
import 'reflect-metadata';
import { Sql, SqlModule } from '@lockstep/sql';
import { NestFactory } from '@nestjs/core';
import { driverFor } from './driver-for.mjs';

const [url, name] = process.argv.slice(2);
const app = await NestFactory.createApplicationContext(SqlModule.forRoot({ driver: driverFor(url) }), {
  logger: false,
});
await app.get(Sql).transaction(async (tx) => {
  await tx.execute('INSERT INTO entry VALUES ($1)', [name]);
  tx.afterCommit(() => process.send('after the commit'));
});
await app.close();
process.disconnect();
