import { DrainService } from '@lockstep/core';
import { Inject, Module } from '@nestjs/common';
import { Inbox } from './inbox/inbox.service.js';
import { RowLeases } from './row-lease/row-leases.service.js';
import { ConfigurableModuleClass } from './sql.module-definition.js';
import { Sql } from './sql.service.js';
import { SQL_DRIVER, type SqlDriver } from './sql-driver.js';

/** The application's database: `SqlModule.forRoot({ driver: pgDriver({ url }) })`. Global. */
@Module({
  providers: [Sql, RowLeases, Inbox],
  exports: [Sql, RowLeases, Inbox],
})
export class SqlModule extends ConfigurableModuleClass {
  constructor(@Inject(SQL_DRIVER) driver: SqlDriver, @Inject(DrainService) drains: DrainService) {
    super();
    drains.register({ name: 'sql driver', phase: 'connections', drain: () => driver.close() });
  }
}
