// One of many processes that start together: waits for the word, then brings the tables of the given folder up to date.
import 'reflect-metadata';
import { Sql, SqlModule } from '@lockstep/sql';
import { NestFactory } from '@nestjs/core';
import { driverFor } from './driver-for.mjs';

const [url, directory, name = 'race'] = process.argv.slice(2);
const app = await NestFactory.createApplicationContext(SqlModule.forRoot({ driver: driverFor(url) }), {
  logger: false,
});
process.send('ready');
await new Promise((resolve) => process.once('message', resolve));
await app.get(Sql).ensureMigrated({ name, directory: new URL(directory) });
process.send('migrated');
await app.close();
process.disconnect();
