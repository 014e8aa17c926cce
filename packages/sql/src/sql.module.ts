import { DrainService } from '@lockstep/core';
import { Inject, Module } from '@nestjs/common';
import { ConfigurableModuleClass } from './sql.module-definition.js';
import { Sql } from './sql.service.js';
import { SQL_DRIVER, type SqlDriver } from './sql-driver.js';

/** The application's database: `SqlModule.forRoot({ driver: pgDriver({ url }) })`. Global. */
@Module({
  providers: [Sql],
  exports: [Sql],
})
export class SqlModule extends ConfigurableModuleClass {
  constructor(@Inject(SQL_DRIVER) driver: SqlDriver, @Inject(DrainService) drains: DrainService) {
    super();
    drains.register({ name: 'sql driver', phase: 'connections', drain: () => driver.close() });
  }
}
