import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { mallConfigFrom } from './platform/mall.config.js';
import { MallModule } from './platform/mall.module.js';
import { originsOf } from './platform/site.js';

/** One process of the mall, set up by its environment; see `platform/mall.config.ts`. */
const config = mallConfigFrom(process.env);
const app = await NestFactory.create(MallModule.forConfig(config), { logger: ['error', 'warn'] });
// A form of another site is sent with the customer's cookie as well. Clients that are no browsers name no origin.
app.enableCsrfProtection({ trustedOrigins: originsOf(config) });
app.enableShutdownHooks();
if (config.roles.has('web')) {
  await app.listen(config.port, '127.0.0.1');
  console.log(`mall: listening on ${await app.getUrl()}`);
} else {
  await app.init();
}
console.log(`mall: ready as ${[...config.roles].join(', ')}`);
