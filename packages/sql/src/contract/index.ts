export { describeSqlDriverContract, type SqlDriverHarness } from './sql-driver.contract.js';
