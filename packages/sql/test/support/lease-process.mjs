// A holder of a lease that can be stopped: takes it, and when asked says whether it believes to hold it, and renews.
import 'reflect-metadata';
import { RowLeases, SqlModule } from '@lockstep/sql';
import { NestFactory } from '@nestjs/core';
import { driverFor } from './driver-for.mjs';

const [url, name, ttlMs] = process.argv.slice(2);
const app = await NestFactory.createApplicationContext(SqlModule.forRoot({ driver: driverFor(url) }), {
  logger: false,
});
const lease = await app.get(RowLeases).tryAcquire(name, Number(ttlMs));
process.send({ epoch: String(lease.epoch) });
process.once('message', () => {
  const held = lease.isHeld();
  lease.renew().then((renewed) => process.send({ held, renewed, heldAfterwards: lease.isHeld() }), fail);
});

function fail(error) {
  throw error;
}
