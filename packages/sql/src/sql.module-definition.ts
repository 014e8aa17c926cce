import { ConfigurationError, CoreModule, checkedDriver, type DriverProvider } from '@lockstep/core';
import { ConfigurableModuleBuilder } from '@nestjs/common';
import { resolveSqlOptions, SQL_OPTIONS, type SqlModuleOptions } from './sql.options.js';
import { SQL_DRIVER, type SqlDriver } from './sql-driver.js';
import { TRANSACTION_BRIDGE, type TransactionBridge } from './transaction-bridge.js';

/** What is known when the module is written down, also where the other options come later. */
export interface SqlModuleDrivers {
  /** The database: `pgDriver({ url })` of `@lockstep/sql/postgres`, `mariadbDriver({ url })` of `@lockstep/sql/mariadb`. */
  readonly driver: DriverProvider<SqlDriver> | undefined;
  /** Finds the transactions of the library that the application uses: `clsTransactionBridge()` from `@lockstep/sql/cls`. */
  readonly bridge: DriverProvider<TransactionBridge> | undefined;
}

const SQL_MODULE_OPTIONS = Symbol('@lockstep/sql:SQL_MODULE_OPTIONS');

export const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<SqlModuleOptions>({
  moduleName: 'Sql',
  optionsInjectionToken: SQL_MODULE_OPTIONS,
})
  .setClassMethodName('forRoot')
  .setExtras<SqlModuleDrivers>({ driver: undefined, bridge: undefined }, (definition, { driver, bridge }) => ({
    ...definition,
    global: true,
    imports: [...(definition.imports ?? []), CoreModule],
    providers: [
      ...(definition.providers ?? []),
      { provide: SQL_OPTIONS, inject: [SQL_MODULE_OPTIONS], useFactory: resolveSqlOptions },
      { provide: SQL_DRIVER, ...checkedDriver('driver', required(driver)) },
      ...(bridge ? [{ provide: TRANSACTION_BRIDGE, ...checkedDriver('bridge', bridge) }] : []),
    ],
  }))
  .build();

function required(driver: DriverProvider<SqlDriver> | undefined): DriverProvider<SqlDriver> {
  if (driver) return driver;
  throw ConfigurationError.option('driver', driver, 'a driver of @lockstep/sql, such as pgDriver({ url })');
}
